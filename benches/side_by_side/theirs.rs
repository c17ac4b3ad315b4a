//! The PyTorch side: `benches/pytorch.py` as a child process that answers requests.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::Outcome;
use super::clock::Clock;

/// The published networks, then everything that is asked.
const PROGRAM: &str = concat!(
    include_str!("../published.py"),
    include_str!("../pytorch.py")
);

/// A running `pytorch.py`.
pub struct Python {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// PyTorch's version.
    pub version: String,
    /// Threads that PyTorch uses.
    pub threads: u64,
}

impl Python {
    /// Starts the script with an interpreter that has PyTorch, with as many threads as ours, on the same device.
    pub fn start(interpreter: &str, device: &str) -> Outcome<Self> {
        let threads = candle_core::utils::get_num_threads();
        let mut child = Command::new(interpreter)
            .args(["-c", PROGRAM])
            .env("SADM_BENCH_THREADS", threads.to_string())
            .env("SADM_BENCH_DEVICE", device)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {interpreter}: {error}"))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the child's pipes are missing".into());
        };
        let mut python = Self {
            child,
            requests,
            answers: BufReader::new(answers),
            version: String::new(),
            threads: 0,
        };
        let hello = python.ask(&json!({"do": "hello"}))?;
        if let Some(error) = hello["error"].as_str() {
            return Err(format!("PyTorch on {device}: {error}").into());
        }
        hello["version"]
            .as_str()
            .unwrap_or("?")
            .clone_into(&mut python.version);
        python.threads = hello["threads"].as_u64().unwrap_or(0);
        Ok(python)
    }

    fn ask(&mut self, request: &Value) -> Outcome<Value> {
        writeln!(self.requests, "{request}")?;
        self.requests.flush()?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("{request}: benches/pytorch.py ended, see above").into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Builds an item; its number of parameters, or why PyTorch cannot.
    pub fn make(
        &mut self,
        name: &str,
        what: &Value,
        mode: &str,
    ) -> Outcome<Result<Option<usize>, String>> {
        let answer = self.ask(&json!({"do": "make", "name": name, "what": what, "mode": mode}))?;
        if let Some(error) = answer["error"].as_str() {
            return Ok(Err(error.to_owned()));
        }
        let parameters = answer["parameters"].as_u64();
        Ok(Ok(parameters.map(usize::try_from).transpose()?))
    }

    /// Times of single calls, for `seconds`.
    pub fn time(&mut self, name: &str, seconds: f64, clock: Clock) -> Outcome<Vec<f64>> {
        let request =
            json!({"do": "time", "name": name, "seconds": seconds, "cpu": clock == Clock::Cpu});
        let answer = self.ask(&request)?;
        // OpenMP's threads spin for a moment after their work; they must not do it in our time.
        std::thread::sleep(Duration::from_millis(250));
        let times: Option<Vec<f64>> = answer["times"]
            .as_array()
            .map(|times| times.iter().filter_map(Value::as_f64).collect());
        times.ok_or_else(|| format!("{name}: {answer}").into())
    }

    /// The most memory that it has had at once, and what it has now, in bytes.
    pub fn memory(&mut self) -> Outcome<[f64; 2]> {
        let answer = self.ask(&json!({"do": "memory"}))?;
        let number = |name: &str| answer[name].as_f64().ok_or(format!("memory: {answer}"));
        Ok([number("most")?, number("now")?])
    }

    /// Forgets an item.
    pub fn drop_item(&mut self, name: &str) -> Outcome<()> {
        self.ask(&json!({"do": "drop", "name": name})).map(drop)
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It has nothing to save; an error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
