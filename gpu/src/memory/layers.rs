//! The layers of the networks as sizes: what each makes, and the room that its implementation in [`nn`](crate::nn) takes.

use super::sketch::{Id, Sketch};

/// Images `[N, C, S, S]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Images {
    pub(crate) id: Id,
    pub(crate) batch: f64,
    pub(crate) channels: f64,
    pub(crate) side: f64,
}

impl Images {
    fn pixels(self) -> f64 {
        self.side * self.side
    }
}

/// Columns of a packed panel on a machine with vectors of 512 bits: what others need is less.
const PANEL: f64 = 32.0;
/// Rows of a strip there.
const STRIP: f64 = 12.0;
/// Rows that one task of a matrix product makes.
const ROWS: f64 = 192.0;
/// Places of a transformed tile of Winograd's.
const PLACES: f64 = 16.0;
/// Tiles that a thread transforms at a time.
const TILES: f64 = 72.0;

/// Whole panels.
fn panels(columns: f64) -> f64 {
    (columns / PANEL).ceil() * PANEL
}

/// What is made of `most` things of which each image has `of_image`: images that are worked on together.
fn together(most: f64, of_image: f64, batch: f64) -> f64 {
    (most / of_image).floor().clamp(1.0, batch.max(1.0))
}

impl Sketch {
    /// `y = x Wᵀ + b` of rows.
    pub(crate) fn linear(&mut self, x: Id, rows: f64, inputs: f64, outputs: f64) -> Id {
        let weight = self.parameter("weight", inputs * outputs);
        let bias = self.parameter("bias", outputs);
        let forward = panels(outputs) * inputs;
        let of_weights = rows * (panels(inputs) + self.threads * outputs.min(ROWS));
        let back = (panels(inputs) * outputs).max(of_weights);
        self.operation(rows * outputs, &[x, weight, bias], [forward, back])
    }

    /// A convolution that keeps the size.
    pub(crate) fn conv(&mut self, x: Images, outputs: f64, kernel: f64) -> Images {
        let weight = self.parameter("weight", x.channels * outputs * kernel * kernel);
        let bias = self.parameter("bias", outputs);
        self.convolved(x, outputs, kernel, [weight, bias])
    }

    /// A convolution padded by more than keeps the size: by `wide` more pixels on a side altogether.
    pub(crate) fn conv_grown(&mut self, x: Images, outputs: f64, kernel: f64, wide: f64) -> Images {
        let weight = self.parameter("weight", x.channels * outputs * kernel * kernel);
        let bias = self.parameter("bias", outputs);
        let side = x.side + wide;
        let scratch = self.by_patches(Images { side, ..x }, outputs, kernel);
        let id = self.operation(
            x.batch * outputs * side * side,
            &[x.id, weight, bias],
            scratch,
        );
        Images {
            id,
            side,
            channels: outputs,
            ..x
        }
    }

    /// A convolution that keeps the size, with its weights and bias.
    pub(crate) fn convolved(
        &mut self,
        x: Images,
        outputs: f64,
        kernel: f64,
        [weight, bias]: [Id; 2],
    ) -> Images {
        let by_tiles = |n: f64| n % 32.0 == 0.0;
        let scratch = if kernel > 1.0 && by_tiles(x.channels) && by_tiles(outputs) && x.side >= 2.0
        {
            self.by_tiles(x, outputs)
        } else {
            self.by_patches(x, outputs, kernel)
        };
        let id = self.operation(
            x.batch * outputs * x.pixels(),
            &[x.id, weight, bias],
            scratch,
        );
        Images {
            id,
            channels: outputs,
            ..x
        }
    }

    /// Room of a convolution made by Winograd's tiles.
    fn by_tiles(&self, x: Images, outputs: f64) -> [f64; 2] {
        let (channels, pixels) = (x.channels, x.pixels());
        let framed = (x.side + 2.0) * (x.side + 2.0);
        let group = together(256.0, pixels, x.batch);
        let through = |from: f64, to: f64| {
            let tiles = PLACES * TILES * (from + PANEL);
            PLACES * from * to + self.threads * (group * (framed * from + pixels * to) + tiles)
        };
        let tiles = pixels / 4.0;
        let images = together(512.0, tiles, x.batch);
        let transformed = PLACES * images * tiles * (channels + outputs);
        let of_weights = PLACES * channels * outputs + images * framed * channels + transformed;
        [
            through(channels, outputs),
            through(outputs, channels).max(of_weights),
        ]
    }

    /// Room of a convolution made by patches.
    fn by_patches(&self, x: Images, outputs: f64, kernel: f64) -> [f64; 2] {
        let (channels, pixels) = (x.channels, x.pixels());
        let side = x.side + kernel - 1.0;
        let framed = side * side;
        let group = together(256.0, pixels, x.batch);
        let through = |from: f64, to: f64| {
            panels(to) * from * kernel * kernel + self.threads * group * framed * from
        };
        let images = together(4096.0, pixels, x.batch);
        let strips = (outputs / STRIP).ceil() * STRIP;
        let laid_out = framed * channels + pixels * (strips + self.threads * PANEL);
        let totals = kernel * panels(kernel * channels) * outputs;
        [
            through(channels, outputs),
            through(outputs, channels).max(images * laid_out + totals),
        ]
    }

    /// Group normalisation, with the activation that may follow.
    pub(crate) fn group_norm(&mut self, x: Images) -> Images {
        let gamma = self.parameter("weight", x.channels);
        let beta = self.parameter("bias", x.channels);
        self.normalised(x, [gamma, beta])
    }

    /// Group normalisation with a map of each sample.
    pub(crate) fn modulated_norm(&mut self, x: Images, scale: Id, shift: Id) -> Images {
        let each = x.batch * x.channels;
        let gamma = self.parameter("weight", x.channels);
        let beta = self.parameter("bias", x.channels);
        let scale = self.operation(each, &[scale], [0.0; 2]);
        let gamma = self.operation(each, &[scale, gamma], [0.0; 2]);
        let beta = self.operation(each, &[scale, beta], [0.0; 2]);
        let beta = self.sum(beta, shift);
        self.normalised(x, [gamma, beta])
    }

    fn normalised(&mut self, x: Images, [gamma, beta]: [Id; 2]) -> Images {
        let id = self.operation(self.elements(x.id), &[x.id, gamma, beta], [0.0; 2]);
        Images { id, ..x }
    }

    /// An element-wise function.
    pub(crate) fn function(&mut self, x: Id) -> Id {
        self.operation(self.elements(x), &[x], [0.0; 2])
    }

    /// Images of half or twice the side.
    pub(crate) fn resampled(&mut self, x: Images, factor: f64) -> Images {
        let elements = self.elements(x.id) * factor * factor;
        Images {
            id: self.operation(elements, &[x.id], [0.0; 2]),
            side: x.side * factor,
            ..x
        }
    }

    /// The channels of two.
    pub(crate) fn concatenated(&mut self, x: Images, y: Images) -> Images {
        let elements = self.elements(x.id) + self.elements(y.id);
        Images {
            id: self.operation(elements, &[x.id, y.id], [0.0; 2]),
            channels: x.channels + y.channels,
            ..x
        }
    }

    /// Dropout in training, with its mask.
    pub(crate) fn dropped(&mut self, x: Images, dropout: f64) -> Images {
        if !self.trains() || dropout <= 0.0 {
            return x;
        }
        // A byte for each element, of whatever width.
        let mask = self.operation(self.elements(x.id) / self.width, &[], [0.0; 2]);
        let id = self.operation(self.elements(x.id), &[x.id, mask], [0.0; 2]);
        Images { id, ..x }
    }

    /// Self-attention over the pixels, with the map that makes queries, keys and values; its rows may have to be `ordered` first.
    pub(crate) fn attended(&mut self, x: Images, heads: f64, ordered: bool) -> Images {
        let (rows, c) = (3.0 * x.channels, x.channels);
        let mut weight = self.parameter("weight", rows * c);
        let mut bias = self.parameter("bias", rows);
        if ordered {
            weight = self.operation(rows * c, &[weight], [0.0; 2]);
            bias = self.operation(rows, &[bias], [0.0; 2]);
        }
        let qkv = self.convolved(x, rows, 1.0, [weight, bias]);
        let packed = self.view(qkv.id);
        let tokens = x.side * x.side;
        let y = self.attention(packed, [x.batch, tokens, c], heads);
        Images {
            id: self.view(y),
            ..x
        }
    }

    /// Self-attention of `tokens` packed queries, keys and values: one head of one sample at a time on each thread, of which the
    /// relation of all tokens with all is made, and made again on the way back with its gradient and that one's strips.
    pub(crate) fn attention(
        &mut self,
        qkv: Id,
        [batch, tokens, channels]: [f64; 3],
        heads: f64,
    ) -> Id {
        let head = tokens * channels / heads;
        let packed = tokens * panels(channels / heads);
        let square = tokens * tokens;
        let forward = square + 3.0 * head + packed;
        let back = 3.0 * square + 4.0 * head + packed;
        self.operation(
            batch * tokens * channels,
            &[qkv],
            [forward, back].map(|of_thread| self.threads.min(batch) * of_thread),
        )
    }
}
