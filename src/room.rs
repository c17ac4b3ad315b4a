//! Memory that a command will need, judged before its work.

use anyhow::Result;
use candle_core::Device;
use sadm_gpu::memory::{Room, drawing};
use sadm_gpu::run::Run;

/// Refuses more images of a run than there is memory for; of a GPU's memory nothing is known.
///
/// # Errors
/// The memory that it takes and what there is, with the number of images that makes it less.
pub fn for_images(run: &Run, count: usize, device: &Device) -> Result<()> {
    if let (true, Some(room)) = (device.is_cpu(), Room::here()) {
        let threads = rayon::current_num_threads();
        let need = drawing(run.config(), run.images(), threads, count);
        need.fits(
            &room,
            "or draw them in parts, each with a --seed of its own",
        )?;
    }
    Ok(())
}
