//! A run as TensorBoard event files: every number of `metrics.jsonl`, sample grids, the configuration.
//!
//! Every file starts with the event that says from which step on it speaks. In the file of a run that goes on, it
//! makes TensorBoard forget what earlier files say about the steps that are done again.

mod message;
mod record;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use message::{Event, Value};
use prost::Message;

/// What a file's name starts with; TensorBoard looks for it.
const PREFIX: &str = "events.out.tfevents.";

/// The event file of one call of `sadm train`, made when the first event is written.
#[derive(Debug)]
pub struct Events {
    folder: PathBuf,
    /// Steps that earlier calls did.
    done: usize,
    config: String,
    open: Option<(PathBuf, File)>,
}

impl Events {
    /// For the run in `folder`, of which `done` steps are done.
    pub fn new(folder: &Path, done: usize, config: String) -> Self {
        Self {
            folder: folder.to_owned(),
            done,
            config,
            open: None,
        }
    }

    /// The numbers of a line of `metrics.jsonl`, as `run/KEY` and `PHASE/KEY`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn line(&mut self, line: &serde_json::Value) -> Result<()> {
        match values(line) {
            (_, values) if values.is_empty() => Ok(()),
            (step, values) => self.write(&Event::values(now(), step, values)),
        }
    }

    /// A picture of samples, PNG, unless an earlier call drew the same one.
    ///
    /// # Errors
    /// If it is no picture, or the file cannot be written.
    pub fn samples(&mut self, step: usize, png: &[u8], drawn_before: bool) -> Result<()> {
        if drawn_before && step <= self.done {
            return Ok(());
        }
        let size =
            image::ImageReader::with_format(std::io::Cursor::new(png), image::ImageFormat::Png)
                .into_dimensions()
                .context("the samples are no picture")?;
        let size = (i32::try_from(size.0)?, i32::try_from(size.1)?);
        let value = Value::image("samples", size, png.to_vec());
        self.write(&Event::values(now(), i64::try_from(step)?, vec![value]))
    }

    /// Appends an event by a single write, so that a kill tears at most the last one.
    fn write(&mut self, event: &Event) -> Result<()> {
        if self.open.is_none() {
            self.open = Some(self.create()?);
        }
        let Some((path, file)) = &mut self.open else {
            return Ok(());
        };
        file.write_all(&record::framed(&event.encode_to_vec()))
            .with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// A new file after those that are there, with what must stand at its start.
    fn create(&self) -> Result<(PathBuf, File)> {
        let earlier = newest(&self.folder)?;
        // Readers take the files in the order of their names: a clock that went back must not reorder them.
        let stamp = seconds().max(earlier.map_or(0, |stamp| stamp + 1));
        let name = format!("{PREFIX}{stamp:010}.sadm.{}", std::process::id());
        let path = self.folder.join(name);
        let mut file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot create `{}`", path.display()))?;
        // Each file has a START: `tensorboard --load_fast=false` takes the first of a run for its beginning, at which it
        // forgets nothing. A file that goes on has two, for the file before may be of a program that wrote none.
        let start = Event::start(now(), i64::try_from(self.done)? + 1);
        let mut events = vec![Event::version(now()), start.clone()];
        if earlier.is_some() {
            events.push(start);
        } else {
            let config = format!("```toml\n{}```\n", self.config);
            events.push(Event::values(now(), 0, vec![Value::text("config", config)]));
            events.extend(self.replayed());
        }
        let bytes: Vec<u8> = events
            .iter()
            .flat_map(|event| record::framed(&event.encode_to_vec()))
            .collect();
        file.write_all(&bytes)
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok((path, file))
    }

    /// The numbers of a run that was begun without event files.
    fn replayed(&self) -> Vec<Event> {
        let text = fs::read_to_string(self.folder.join("metrics.jsonl")).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .map(|line| values(&line))
            .filter(|(step, values)| {
                !values.is_empty() && usize::try_from(*step).is_ok_and(|s| s <= self.done)
            })
            .map(|(step, values)| Event::values(now(), step, values))
            .collect()
    }
}

/// The step of a line and its numbers; f32 is what the format has.
fn values(line: &serde_json::Value) -> (i64, Vec<Value>) {
    let step = line.get("step").and_then(serde_json::Value::as_i64);
    let phase = line.get("phase").and_then(serde_json::Value::as_str);
    let mut values = Vec::new();
    for (key, value) in line.as_object().into_iter().flatten() {
        if let (true, Some(number)) = (key != "step", value.as_f64()) {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "rounding to f32 is the format's"
            )]
            let number = number as f32;
            values.push(Value::scalar(format!("run/{key}"), number));
            values.extend(phase.map(|phase| Value::scalar(format!("{phase}/{key}"), number)));
        }
    }
    match step {
        Some(step) => (step, values),
        None => (0, Vec::new()),
    }
}

/// The latest stamp among the event files of a folder.
fn newest(folder: &Path) -> Result<Option<u64>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    let mut newest = None;
    for entry in entries {
        let name = entry?.file_name();
        let stamp = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if let Some(stamp) = stamp.and_then(|rest| rest.split('.').next()?.parse().ok()) {
            newest = newest.max(Some(stamp));
        }
    }
    Ok(newest)
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

fn seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::message::{Content, What};
    use super::*;
    use serde_json::json;

    /// Written by `fixtures/tfevents.py` with the messages of TensorBoard's own package.
    const GOLDEN: &[u8] = include_bytes!("../../fixtures/tfevents.golden");

    /// The events of a file's bytes; panics where the framing is not what `framed` makes.
    fn read(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let (head, _) = bytes.split_first_chunk::<8>().expect("a length");
            let length = usize::try_from(u64::from_le_bytes(*head)).expect("a length");
            let (record, rest) = bytes.split_at(length + 16);
            let body = &record[12..12 + length];
            assert_eq!(record, record::framed(body));
            events.push(Event::decode(body).expect("an event"));
            bytes = rest;
        }
        events
    }

    /// The only event file of a folder, or the newest.
    fn file(folder: &Path) -> Vec<Event> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
        paths.retain(|p| p.to_string_lossy().contains(PREFIX));
        paths.sort();
        read(&fs::read(paths.last().expect("an event file")).expect("readable"))
    }

    /// (tag, step, value) of every scalar.
    fn scalars(events: &[Event]) -> Vec<(String, i64, f32)> {
        let mut found = Vec::new();
        for event in events {
            if let Some(What::Summary(summary)) = &event.what {
                for value in &summary.value {
                    if let Some(Content::SimpleValue(number)) = value.content {
                        found.push((value.tag.clone(), event.step, number));
                    }
                }
            }
        }
        found
    }

    #[test]
    fn bytes_are_those_of_the_real_package() {
        let png = include_bytes!("../../fixtures/tfevents.png").to_vec();
        let events = [
            Event::version(1_700_000_000.25),
            Event::start(1_700_000_000.5, 301),
            Event::values(
                1_700_000_001.0,
                0,
                vec![Value::text(
                    "config",
                    "```toml\nseed = 0 # σ_d\n```\n".to_owned(),
                )],
            ),
            Event::values(
                1_700_000_002.125,
                310,
                vec![
                    Value::scalar("run/loss".to_owned(), 0.1),
                    Value::scalar("guided/structure".to_owned(), 0.0),
                    Value::scalar("run/gain_phi".to_owned(), -3.5e-20),
                ],
            ),
            Event::values(
                1_700_000_003.0,
                5_000_000_000,
                vec![Value::image("samples", (3, 2), png)],
            ),
        ];
        let bytes: Vec<u8> = events
            .iter()
            .flat_map(|event| record::framed(&event.encode_to_vec()))
            .collect();
        assert_eq!(bytes, GOLDEN);
        assert_eq!(read(GOLDEN), events);
    }

    #[test]
    fn a_line_s_numbers_get_the_run_s_and_the_phase_s_name() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut events = Events::new(folder.path(), 0, "seed = 0\n".to_owned());
        events.line(&json!({"step": 7, "phase": "guided", "loss": 1.5, "shadow_quantity": "x_t", "bad": null}))?;
        events.line(&json!({"step": 8, "loss": 2.5}))?;
        events.line(&json!({"loss": 3.5}))?;
        let want = [
            ("guided/loss", 7, 1.5),
            ("run/loss", 7, 1.5),
            ("run/loss", 8, 2.5),
        ];
        let mut got = scalars(&file(folder.path()));
        got.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        assert_eq!(
            got,
            want.map(|(tag, step, value)| (tag.to_owned(), step, value))
        );
        Ok(())
    }

    #[test]
    fn a_resumed_run_has_a_later_file_that_voids_what_is_done_again() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let line = |step| json!({"step": step, "phase": "denoise", "loss": 1.0});
        let mut first = Events::new(folder.path(), 0, String::new());
        (1..=5).try_for_each(|step| first.line(&line(step)))?;
        // At once, as a killed run is resumed: the name must come later all the same.
        let mut second = Events::new(folder.path(), 3, String::new());
        second.line(&line(4))?;
        let events = file(folder.path());
        assert_eq!(fs::read_dir(folder.path())?.count(), 2);
        let start = events.get(1).context("a second event")?;
        assert_eq!((start.step, &start.what), (4, &Event::start(0.0, 4).what));
        assert_eq!(scalars(&events).len(), 2, "{events:?}");

        // Killed before its first checkpoint: everything is void.
        let mut third = Events::new(folder.path(), 0, String::new());
        third.line(&line(1))?;
        let events = file(folder.path());
        let start = events.get(1).context("a second event")?;
        assert_eq!((start.step, &start.what), (1, &Event::start(0.0, 1).what));
        Ok(())
    }

    /// The steps of `run/loss` that TensorBoard shows of a folder. A START voids what was recorded at its step and later; of
    /// its readers, that of `--load_fast=false` takes a run's first START for the beginning, which voids nothing.
    fn shown(folder: &Path, first_start_voids: bool) -> Vec<i64> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
        paths.sort();
        let (mut steps, mut begun) = (Vec::new(), first_start_voids);
        for event in paths
            .iter()
            .flat_map(|p| read(&fs::read(p).expect("readable")))
        {
            if let Some(What::SessionLog(_)) = event.what {
                if begun {
                    steps.retain(|step| *step < event.step);
                }
                begun = true;
            }
            let scalars = scalars(&[event]).into_iter();
            steps.extend(scalars.filter_map(|(tag, step, _)| (tag == "run/loss").then_some(step)));
        }
        steps
    }

    #[test]
    fn no_reader_shows_a_step_twice() -> Result<()> {
        let line = |step| json!({"step": step, "loss": 1.0});
        let call = |folder: &Path, done, steps: std::ops::RangeInclusive<i32>| -> Result<PathBuf> {
            let mut events = Events::new(folder, done, String::new());
            steps.into_iter().try_for_each(|s| events.line(&line(s)))?;
            Ok(events.open.context("a file")?.0)
        };
        // Killed before the first checkpoint, then after that of step 40, then done; once with a first file as an earlier
        // version wrote it, without a START.
        for older in [false, true] {
            let folder = tempfile::tempdir()?;
            let first = call(folder.path(), 0, 1..=9)?;
            if older {
                let mut events = read(&fs::read(&first)?);
                events.retain(|e| !matches!(e.what, Some(What::SessionLog(_))));
                let bytes = events
                    .iter()
                    .flat_map(|e| record::framed(&e.encode_to_vec()));
                fs::write(&first, bytes.collect::<Vec<u8>>())?;
            }
            call(folder.path(), 0, 1..=44)?;
            call(folder.path(), 40, 41..=50)?;
            let want: Vec<i64> = (1..=50).collect();
            for first_start_voids in [true, false] {
                let steps = shown(folder.path(), first_start_voids);
                assert_eq!(steps, want, "{older} {first_start_voids}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_run_begun_without_event_files_brings_its_numbers() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let log =
            "{\"step\":1,\"loss\":1}\n{\"step\":2,\"loss\":2}\n{\"step\":3,\"loss\":3}\n{\"st";
        fs::write(folder.path().join("metrics.jsonl"), log)?;
        let mut events = Events::new(folder.path(), 2, String::new());
        events.line(&json!({"step": 3, "loss": 4}))?;
        let steps: Vec<(i64, f32)> = scalars(&file(folder.path()))
            .iter()
            .map(|(_, step, value)| (*step, *value))
            .collect();
        assert_eq!(steps, [(1, 1.0), (2, 2.0), (3, 4.0)]);
        Ok(())
    }

    #[test]
    fn nothing_is_written_for_nothing() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut events = Events::new(folder.path(), 9, String::new());
        events.samples(9, b"drawn by an earlier call", true)?;
        assert_eq!(fs::read_dir(folder.path())?.count(), 0);
        assert!(events.samples(9, b"no PNG", false).is_err());
        Ok(())
    }
}
