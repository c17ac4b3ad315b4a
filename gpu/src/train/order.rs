//! Which images are in which batch: a function of (seed, batch number), with no state to save.

use crate::random::Streams;

/// Endless epochs over `n` images, each in a fresh random order.
#[derive(Debug)]
pub struct Order {
    streams: Streams,
    purpose: String,
    n: usize,
    cached: Option<(usize, Vec<usize>)>,
}

impl Order {
    /// Epochs over `0..n`; different purposes have different orders.
    pub fn new(streams: Streams, purpose: impl Into<String>, n: usize) -> Self {
        Self {
            streams,
            purpose: purpose.into(),
            n,
            cached: None,
        }
    }

    /// The indices of batch number `number` of `size` images.
    pub fn batch(&mut self, number: usize, size: usize) -> Vec<usize> {
        let n = self.n;
        (number * size..(number + 1) * size)
            .map(|position| self.epoch(position / n)[position % n])
            .collect()
    }

    fn epoch(&mut self, epoch: usize) -> &[usize] {
        if self.cached.as_ref().is_none_or(|(e, _)| *e != epoch) {
            let order = self
                .streams
                .permutation(&self.purpose, epoch as u64, self.n);
            self.cached = Some((epoch, order));
        }
        self.cached.as_ref().map_or(&[], |(_, order)| order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_shows_every_image_once_and_batches_do_not_depend_on_history() {
        let mut order = Order::new(Streams::new(3), "order", 10);
        let mut seen: Vec<usize> = (0..5).flat_map(|b| order.batch(b, 4)).collect();
        let second = seen.split_off(10);
        for mut epoch in [seen, second] {
            epoch.sort_unstable();
            assert_eq!(epoch, (0..10).collect::<Vec<_>>());
        }
        let fresh = Order::new(Streams::new(3), "order", 10).batch(3, 4);
        assert_eq!(order.batch(3, 4), fresh);
    }
}
