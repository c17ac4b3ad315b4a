//! Recording of a run besides its checkpoints: progress, sample grids, event files.

use std::io::Write;
use std::path::Path;

use candle_core::{DType, Tensor};
use sadm_gpu::run::phases::Phase;
use sadm_gpu::train::{Hooks, StepReport};
use serde_json::Value;

use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::tensorboard::Events;
use crate::{files, image_grid};

/// Listens to a run for a person, for the folder `samples` and for TensorBoard.
#[derive(Debug)]
pub struct Recorder {
    /// The person's view.
    pub progress: Progress,
    /// TensorBoard's view, where it is wanted.
    pub events: Option<Events>,
    /// Who may end the program while everything that was done is on the disk.
    pub interrupt: Interrupt,
    /// What is said then, before and after the number of steps that are done.
    pub parting: [String; 2],
}

impl Recorder {
    /// Writes `samples/STEP.png`, after the event: a kill between the two repeats an event, and loses nothing.
    fn draw(&mut self, path: &Path, step: usize, images: &Tensor) -> anyhow::Result<()> {
        let png = image_grid::png(images)?;
        if let Some(events) = &mut self.events {
            events.samples(step, &png, path.exists())?;
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        files::write_atomically(path, |out| Ok(out.write_all(&png)?))
    }
}

impl Hooks for Recorder {
    fn phase(&mut self, phase: Phase, start: usize, end: usize) {
        self.progress.phase(phase, start, end);
    }

    fn step(&mut self, report: &StepReport) {
        self.progress.step(report);
    }

    fn metrics(&mut self, line: &Value) -> sadm_gpu::Result<()> {
        let Some(events) = &mut self.events else {
            return Ok(());
        };
        events.line(line).map_err(|reason| {
            sadm_gpu::Error::invalid("the event file", "be writable", format!("{reason:#}"))
        })
    }

    fn samples(&mut self, folder: &Path, step: usize, images: &Tensor) -> sadm_gpu::Result<()> {
        let path = folder.join("samples").join(format!("{step:08}.png"));
        self.draw(&path, step, images)
            .map_err(|reason| sadm_gpu::Error::file(&path, format!("{reason:#}")))?;
        self.progress
            .note(&format!("samples after step {step}: {}", path.display()));
        let broken = not_finite(images)?;
        if broken > 0 {
            let all = images.dims().first().copied().unwrap_or_default();
            self.note(&format!(
                "{broken} of these {all} samples are not finite and drawn black: the parameters may have diverged, or sample.guidance be too large"
            ));
        }
        Ok(())
    }

    fn all_is_saved(&mut self, step: Option<usize>) {
        let [before, after] = &self.parting;
        let words = step.map(|step| format!("{before}{step}{after}"));
        self.interrupt.may_leave(words);
    }

    fn note(&mut self, line: &str) {
        self.progress.note(line);
    }
}

/// How many of the images hold a number that is not finite.
pub fn not_finite(images: &Tensor) -> candle_core::Result<usize> {
    let rows = images
        .flatten_from(1)?
        .to_dtype(DType::F32)?
        .to_vec2::<f32>()?;
    let broken = rows.iter().filter(|row| !row.iter().all(|x| x.is_finite()));
    Ok(broken.count())
}
