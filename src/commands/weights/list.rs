//! `sadm weights list`.

use anyhow::Result;
use sadm_gpu::weights::layout::LAYOUTS;

use crate::files;

/// Prints every layout, those of one network together.
pub fn run() -> Result<()> {
    let mut lines = Vec::new();
    let mut family = "";
    for layout in LAYOUTS {
        if layout.family != family {
            family = layout.family;
            lines.push(format!("{family}\n"));
        }
        lines.push(format!("  {:18} {}\n", layout.name, layout.about));
    }
    Ok(files::print(&lines.concat())?)
}
