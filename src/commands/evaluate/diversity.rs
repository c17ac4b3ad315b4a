//! How different generated samples look from each other.

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use ndarray::{Array2, ArrayView1};
use sadm_gpu::data::Images;
use sadm_gpu::evaluation::{Lpips, Weights};
use sadm_reference::metrics::mean_pairwise_of_deviations;

use super::networks::NetworkArgs;
use super::report::Line;
use crate::progress;

/// Mean LPIPS of the pairs of all images, and, where their classes are known, of the pairs of one class; `pixels` is said of
/// what they are.
///
/// # Errors
/// No `--lpips-weights` or a file that does not hold them; images that are too small or too few.
pub fn lines(
    args: &NetworkArgs,
    images: &Images,
    pixels: &str,
    device: &Device,
) -> Result<Vec<Line>> {
    let file = args.lpips_weights.as_ref().context(
        "lpips needs --lpips-weights FILE: SqueezeNet 1.1 with the heads of LPIPS 0.1, .safetensors or .pth with the \
         names of the package `lpips`",
    )?;
    if images.count() < 3 {
        bail!(
            "lpips needs at least 3 generated images, got {}",
            images.count()
        );
    }
    let weights = Weights::open(file)?;
    let looks = Looks {
        lpips: Lpips::load(&weights, device)?,
        images,
        batch: args.batch.get(),
        device,
    };
    let digest: String = weights.digest().chars().take(8).collect();
    let said = format!("LPIPS 0.1, SqueezeNet, weights sha256 {digest}…; jackknife{pixels}");
    let together = vec![0; images.count()];
    let (value, error) = looks.mean_distances(&together)?[0];
    let mut lines =
        vec![line("lpips-diversity", value, error).with_convention(format!("all pairs; {said}"))];
    if let Some(labels) = &images.labels {
        lines.extend(looks.within_classes(labels, &said)?);
    }
    Ok(lines)
}

/// Images and the network that compares them.
struct Looks<'a> {
    lpips: Lpips,
    images: &'a Images,
    /// Images that go through the network together.
    batch: usize,
    device: &'a Device,
}

impl Looks<'_> {
    /// The mean over classes of the mean over pairs, where each class has three images at least.
    fn within_classes(&self, labels: &[u32], said: &str) -> Result<Option<Line>> {
        let mut classes = labels.to_vec();
        classes.sort_unstable();
        classes.dedup();
        let count = |class: &u32| labels.iter().filter(|label| *label == class).count();
        if classes.len() < 2 || classes.iter().any(|class| count(class) < 3) {
            return Ok(None);
        }
        let groups: Vec<usize> = labels
            .iter()
            .filter_map(|label| classes.binary_search(label).ok())
            .collect();
        let each = self.mean_distances(&groups)?;
        let classes = each.len() as f64;
        let value = each.iter().map(|(value, _)| value).sum::<f64>() / classes;
        let error = each
            .iter()
            .map(|(_, error)| error * error)
            .sum::<f64>()
            .sqrt()
            / classes;
        let said = format!("pairs of one class, mean over {classes} classes; {said}");
        Ok(Some(
            line("lpips-diversity-class", value, error).with_convention(said),
        ))
    }

    /// Mean squared distance of the embeddings within each group, with its error: the first pass finds the means, the
    /// second how far each image is from its own.
    fn mean_distances(&self, groups: &[usize]) -> Result<Vec<(f64, f64)>> {
        let count = groups.iter().max().map_or(0, |last| last + 1);
        let mut sizes = vec![0.0; count];
        let mut means = Array2::<f64>::zeros((count, 0));
        self.each(|i, phi| {
            if means.ncols() == 0 {
                means = Array2::zeros((count, phi.len()));
            }
            let mut mean = means.row_mut(groups[i]);
            mean += &phi;
            sizes[groups[i]] += 1.0;
        })?;
        for (mut mean, size) in means.rows_mut().into_iter().zip(&sizes) {
            mean /= *size;
        }
        let mut deviations = vec![Vec::new(); count];
        self.each(|i, phi| {
            let apart = &phi - &means.row(groups[i]);
            deviations[groups[i]].push(apart.dot(&apart));
        })?;
        let found = deviations.iter().map(|q| {
            let mean = mean_pairwise_of_deviations(q)?;
            Ok((mean.value, mean.standard_error))
        });
        found.collect()
    }

    /// Calls `f` with each image's number and embedding.
    fn each(&self, mut f: impl FnMut(usize, ArrayView1<f64>)) -> Result<()> {
        let images = self.images;
        let [channels, height, width] = images.shape;
        let bar = progress::count_bar(images.count(), "images for lpips");
        let mut i = 0;
        for pixels in images.pixels.parts(self.batch * images.size()) {
            let count = pixels.len() / images.size();
            let x = Tensor::from_slice(&pixels, (count, channels, height, width), self.device)?;
            let phi = self
                .lpips
                .embedding(&x)?
                .to_device(&Device::Cpu)?
                .to_dtype(DType::F64)?;
            for row in phi.to_vec2::<f64>()? {
                f(i, ArrayView1::from(&row));
                i += 1;
            }
            bar.inc(count as u64);
        }
        bar.finish_and_clear();
        Ok(())
    }
}

fn line(name: &str, value: f64, error: f64) -> Line {
    Line::new(name.to_owned(), value).with_error(Some(error))
}
