//! The `--device` option.

use std::io::{self, Write};

use anyhow::Result;
use sadm_crosscheck::{Error, Place};
use sadm_gpu::nn::{Convolutions, Layers};

/// The device by name; the CPU where a program built with CUDA finds no GPU, which one line says.
///
/// # Errors
/// A name that is no device's or no element type's, a GPU that cannot be opened, and any GPU asked of a
/// program built without CUDA.
pub fn open(device: &str, dtype: &str) -> Result<Place> {
    match Place::open(device, dtype) {
        Err(none @ Error::NoGpu(_)) => {
            // With standard error closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "sadm: {none}; computing on the CPU");
            Ok(Place::open("cpu", dtype)?)
        }
        outcome => {
            let place = outcome?;
            if !place.device.is_cpu() {
                let convolutions = Convolutions::on(&place.device);
                let layers = Layers::on(&place.device);
                let _ = writeln!(
                    io::stderr(),
                    "sadm: {device}, convolutions by {convolutions}; layers by {layers}"
                );
            }
            Ok(place)
        }
    }
}
