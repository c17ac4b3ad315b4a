//! A folder of files, the program run on them, and what it said.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::ArrayD;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub fn sadm() -> assert_cmd::Command {
    assert_cmd::cargo::cargo_bin_cmd!("sadm")
}

/// A temporary folder.
pub struct Folder(TempDir);

/// What `sadm oracle` answered.
pub struct Answer {
    /// The JSON object of standard output.
    pub json: Value,
    /// The tensors of the output file.
    pub tensors: BTreeMap<String, ArrayD<f64>>,
}

impl Folder {
    /// A new one, removed when dropped.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// The path of `name` inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the oracle on f64 inputs; it must succeed.
    pub fn oracle(
        &self,
        quantity: &str,
        inputs: &[(&str, ArrayD<f64>)],
        settings: &[&str],
    ) -> Answer {
        let output = self.path("out.safetensors");
        let mut command = sadm();
        command
            .args(["oracle", quantity])
            .arg("--output")
            .arg(&output);
        if !inputs.is_empty() {
            let input = self.path("in.safetensors");
            write_f64(&input, inputs);
            command.arg("--input").arg(&input);
        }
        for setting in settings {
            command.args(["--set", setting]);
        }
        let printed = command.assert().success().get_output().stdout.clone();
        Answer {
            json: serde_json::from_slice(&printed).expect("one JSON object"),
            tensors: read_f64(&output),
        }
    }

    /// Runs the oracle on f64 inputs; it must fail. The one line of standard error.
    pub fn oracle_error(
        &self,
        quantity: &str,
        inputs: &[(&str, ArrayD<f64>)],
        settings: &[&str],
    ) -> String {
        let input = self.path("in.safetensors");
        write_f64(&input, inputs);
        let mut command = sadm();
        command
            .args(["oracle", quantity])
            .arg("--input")
            .arg(&input);
        command.arg("--output").arg(self.path("none.safetensors"));
        for setting in settings {
            command.args(["--set", setting]);
        }
        let message = error_of(&mut command);
        assert!(
            !self.path("none.safetensors").exists(),
            "a failed run left an output file"
        );
        message
    }
}

/// Runs a command that must fail with exit code 1 and one line `error: …`, after those on the images and the memory of a run
/// that got as far; that line.
pub fn error_of(command: &mut assert_cmd::Command) -> String {
    let output = command.assert().code(1).get_output().clone();
    assert!(
        output.stdout.is_empty(),
        "an error must print nothing on standard output"
    );
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let of_opening = |line: &&str| {
        line.contains(" held out; standard deviation ") || line.starts_with("memory: about ")
    };
    let text = said
        .lines()
        .skip_while(of_opening)
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(text.lines().count(), 1, "one line, got: {said}");
    assert!(text.starts_with("error: "), "got: {text}");
    assert!(!text.contains("panicked"), "got: {text}");
    text.trim_end().to_owned()
}

/// Answer and table of `sadm evaluate`, which must succeed.
pub fn answered(folder: &Folder, command: &mut assert_cmd::Command) -> (Value, String) {
    let json = folder.path("answer.json");
    let output = command
        .arg("--json")
        .arg(&json)
        .assert()
        .success()
        .get_output()
        .clone();
    let text = std::fs::read_to_string(&json).expect("the answer was written");
    let table = String::from_utf8(output.stdout).expect("UTF-8");
    (serde_json::from_str(&text).expect("JSON"), table)
}

/// The line of one metric in an answer.
pub fn metric<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let lines = answer["metrics"].as_array().expect("metrics");
    let found = lines.iter().find(|line| line["metric"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {answer}"))
}

/// Writes tensors as f64.
pub fn write_f64(path: &Path, tensors: &[(&str, ArrayD<f64>)]) {
    write(path, tensors, Dtype::F64, |x| x.to_le_bytes().to_vec());
}

/// Writes tensors rounded to f32.
pub fn write_f32(path: &Path, tensors: &[(&str, ArrayD<f64>)]) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding to f32 is the point"
    )]
    write(path, tensors, Dtype::F32, |x| {
        (x as f32).to_le_bytes().to_vec()
    });
}

/// Writes tensors in a dtype, element by element.
pub fn write(
    path: &Path,
    tensors: &[(&str, ArrayD<f64>)],
    dtype: Dtype,
    bytes: impl Fn(f64) -> Vec<u8>,
) {
    let laid_out: Vec<(&str, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, x)| {
            (
                *name,
                x.shape().to_vec(),
                x.iter().flat_map(|x| bytes(*x)).collect(),
            )
        })
        .collect();
    let views = laid_out.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(dtype, shape.clone(), bytes).expect("bytes fit the shape");
        (*name, view)
    });
    let file = safetensors::serialize(views, None).expect("a valid file");
    std::fs::write(path, file).expect("the folder can be written to");
}

/// Reads a file whose tensors must all be f64.
pub fn read_f64(path: &Path) -> BTreeMap<String, ArrayD<f64>> {
    let bytes = std::fs::read(path).expect("the output file exists");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    file.iter()
        .map(|(name, view)| {
            assert_eq!(view.dtype(), Dtype::F64, "`{name}`");
            let elements = view
                .data()
                .as_chunks::<8>()
                .0
                .iter()
                .map(|b| f64::from_le_bytes(*b));
            let shape = view.shape().to_vec();
            let x =
                ArrayD::from_shape_vec(shape, elements.collect()).expect("elements fit the shape");
            (name.to_owned(), x)
        })
        .collect()
}

/// |got − want| ≤ units·u·scale, element by element, u = 2⁻⁵³; NaN never passes.
pub fn close(what: &str, got: &ArrayD<f64>, want: &[f64], units: f64, scale: f64) {
    assert_eq!(got.len(), want.len(), "{what}: {got:?}");
    let allowed = units * f64::EPSILON / 2.0 * scale;
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            (got - want).abs() <= allowed,
            "{what}[{i}]: got {got}, want {want} ± {allowed:e}"
        );
    }
}

/// The cases of a file of golden vectors.
pub fn cases(text: &str) -> Vec<Value> {
    let suite: Value = serde_json::from_str(text).expect("a JSON file");
    suite["tests"].as_array().expect("tests").clone()
}

/// A tensor of such a file.
pub fn tensor(value: &Value) -> ArrayD<f64> {
    let size = |v: &Value| usize::try_from(v.as_u64().expect("a size")).expect("a size");
    let shape: Vec<usize> = value["shape"]
        .as_array()
        .expect("shape")
        .iter()
        .map(size)
        .collect();
    let data = value["data"].as_array().expect("data").iter();
    let data = data.map(|v| v.as_f64().expect("a number")).collect();
    ArrayD::from_shape_vec(shape, data).expect("as many as the shape holds")
}

/// Requires every part in a text.
#[track_caller]
pub fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}
