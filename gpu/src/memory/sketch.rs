//! A pass through networks as sizes alone: what is kept on the way forward, and what lives at once on the way back.

use std::collections::BTreeMap;

use crate::network::Recompute;

/// What the names of the denoiser's layers begin with.
pub(crate) const NETWORK: &str = "model";
/// What those of the encoder's begin with.
pub(crate) const ENCODER: &str = "encoder";

/// A tensor of a [`Sketch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(usize);

/// Role of a tensor in candle's graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A parameter or an input: nothing leads to it. Its own bytes are counted by whoever holds it.
    Leaf,
    /// A view of the tensor that it is made from.
    View,
    /// An operation whose gradient in each input is a tensor of its own.
    Operation,
    /// A sum: its gradient is that of each of its inputs.
    Sum,
    /// A square: its way back goes through its input, so that candle keeps zeros, product and double with the gradient that they add
    /// up to.
    Square,
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    layer: usize,
    bytes: f64,
    inputs: Vec<usize>,
    /// Whether a gradient is wanted here; the graph then keeps the tensor and all that it was made from.
    tracked: bool,
    /// Bytes that the operation needs for itself, forward and back.
    scratch: [f64; 2],
}

/// Tensors in the order in which a pass makes them.
///
/// Sizes are real numbers: what a mistyped width asks for is beyond every integer, and must be refused, not overflow.
#[derive(Debug, Default)]
pub(crate) struct Sketch {
    nodes: Vec<Node>,
    layers: Vec<String>,
    current: usize,
    parameters: BTreeMap<String, f64>,
    frozen: bool,
    /// Whether blocks are made again on the way back.
    recomputes: bool,
    /// First and last tensor of each such block; the last is its output.
    blocks: Vec<[usize; 2]>,
    /// Where the block begins that is being made.
    begun: Option<usize>,
    /// Bytes of an element of what the networks compute in.
    pub(crate) width: f64,
    /// Threads that work, and need room, at the same time.
    pub(super) threads: f64,
}

/// Whether a tensor has bytes of its own that are counted here.
fn is_made(node: &Node) -> bool {
    !matches!(node.kind, Kind::Leaf | Kind::View)
}

/// Bytes of a parameter's number, and of one that the CPU computes with.
pub(super) const WIDE: f64 = 4.0;

impl Sketch {
    pub(crate) fn new(width: f64, threads: f64, recompute: Recompute) -> Self {
        Self {
            width,
            threads,
            recomputes: recompute == Recompute::Blocks,
            layers: vec![String::new()],
            ..Self::default()
        }
    }

    /// From now on parameters get no gradients, or do again.
    pub(crate) fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// Whether parameters get gradients.
    pub(crate) fn trains(&self) -> bool {
        !self.frozen
    }

    /// What follows belongs to the layer `name`.
    pub(crate) fn at(&mut self, name: impl Into<String>) {
        self.current = self.layers.len();
        self.layers.push(name.into());
    }

    /// What follows, until [`block_ends`](Self::block_ends), is a block, unless one has begun before.
    pub(crate) fn block_begins(&mut self) {
        self.begun.get_or_insert(self.nodes.len());
    }

    /// The block ends with its output, which was made last.
    pub(crate) fn block_ends(&mut self) {
        let Some(first) = self.begun.take() else {
            return;
        };
        let made = &self.nodes[first..];
        if self.recomputes && made.iter().any(|node| node.tracked) {
            self.blocks.push([first, self.nodes.len() - 1]);
        }
    }

    /// What a block holds while it is made again: all that its graph holds, and a copy of what comes in for each use of it.
    fn made_again(&self, [first, last]: [usize; 2], held: &[bool]) -> f64 {
        let nodes = self.nodes[first..=last].iter().zip(&held[first..=last]);
        let own = nodes.clone().filter(|(node, held)| **held && is_made(node));
        let uses = nodes.flat_map(|(node, _)| &node.inputs);
        let copied = uses.filter(|&&input| input < first && is_made(&self.nodes[input]));
        let copied: f64 = copied.map(|&input| self.nodes[input].bytes).sum();
        own.map(|(node, _)| node.bytes).sum::<f64>() + copied
    }

    /// Something that the pass is given.
    pub(crate) fn input(&mut self, elements: f64) -> Id {
        let bytes = elements * WIDE;
        self.push(Kind::Leaf, bytes, &[], false, [0.0; 2])
    }

    /// The parameter `name` of the current layer, in the type of what it meets.
    pub(crate) fn parameter(&mut self, name: &str, elements: f64) -> Id {
        let name = format!("{}.{name}", self.layers[self.current]);
        self.parameters.insert(name, elements);
        let tracked = !self.frozen;
        let own = self.push(Kind::Leaf, elements * WIDE, &[], tracked, [0.0; 2]);
        if self.width < WIDE {
            return self.operation(elements, &[own], [0.0; 2]);
        }
        own
    }

    /// Output of an operation; `scratch` is what it needs for itself, forward and back, in elements of f32.
    pub(crate) fn operation(&mut self, elements: f64, inputs: &[Id], scratch: [f64; 2]) -> Id {
        let mut scratch = scratch.map(|elements| elements * WIDE);
        if self.width < WIDE {
            // Narrow numbers are widened before, and narrowed after.
            let of_inputs: f64 = inputs.iter().map(|id| self.nodes[id.0].bytes).sum();
            let widened = of_inputs / self.width * WIDE + elements * WIDE;
            scratch = [scratch[0] + widened, scratch[1] + 2.0 * widened];
        }
        self.made(Kind::Operation, elements * self.width, inputs, scratch)
    }

    /// As [`operation`](Self::operation), in f32 whatever the networks compute in.
    pub(crate) fn wide_operation(&mut self, elements: f64, inputs: &[Id]) -> Id {
        self.made(Kind::Operation, elements * WIDE, inputs, [0.0; 2])
    }

    /// Squares.
    pub(crate) fn squares(&mut self, x: Id) -> Id {
        let bytes = self.nodes[x.0].bytes;
        self.made(Kind::Square, bytes, &[x], [0.0; 2])
    }

    /// `a + b`.
    pub(crate) fn sum(&mut self, a: Id, b: Id) -> Id {
        let bytes = self.nodes[a.0].bytes;
        self.made(Kind::Sum, bytes, &[a, b], [0.0; 2])
    }

    /// The same numbers in another shape.
    pub(crate) fn view(&mut self, of: Id) -> Id {
        let bytes = self.nodes[of.0].bytes;
        self.made(Kind::View, bytes, &[of], [0.0; 2])
    }

    /// Some elements of a tensor, as a view.
    pub(crate) fn part(&mut self, of: Id, elements: f64) -> Id {
        self.made(Kind::View, elements * self.width, &[of], [0.0; 2])
    }

    /// A tensor's numbers in f32, each shown several times.
    pub(crate) fn broadcast(&mut self, of: Id, elements: f64) -> Id {
        self.made(Kind::View, elements * WIDE, &[of], [0.0; 2])
    }

    /// The same numbers in the networks' type, which may be narrower than that in which they come.
    pub(crate) fn narrowed(&mut self, x: Id) -> Id {
        if self.width < WIDE {
            let bytes = self.nodes[x.0].bytes / WIDE * self.width;
            return self.made(Kind::Operation, bytes, &[x], [0.0; 2]);
        }
        x
    }

    /// The same numbers in f32.
    pub(crate) fn widened(&mut self, x: Id) -> Id {
        if self.width < WIDE {
            return self.wide_operation(self.elements(x), &[x]);
        }
        x
    }

    /// The same numbers, through which no gradient goes.
    pub(crate) fn detached(&mut self, of: Id) -> Id {
        let bytes = self.nodes[of.0].bytes;
        self.push(Kind::View, bytes, &[of], false, [0.0; 2])
    }

    /// Elements of a tensor in the networks' type.
    pub(crate) fn elements(&self, id: Id) -> f64 {
        self.nodes[id.0].bytes / self.width
    }

    fn made(&mut self, kind: Kind, bytes: f64, inputs: &[Id], scratch: [f64; 2]) -> Id {
        let tracked = inputs.iter().any(|id| self.nodes[id.0].tracked);
        self.push(kind, bytes, inputs, tracked, scratch)
    }

    fn push(
        &mut self,
        kind: Kind,
        bytes: f64,
        inputs: &[Id],
        tracked: bool,
        scratch: [f64; 2],
    ) -> Id {
        self.nodes.push(Node {
            kind,
            layer: self.current,
            bytes,
            inputs: inputs.iter().map(|id| id.0).collect(),
            tracked,
            scratch,
        });
        Id(self.nodes.len() - 1)
    }

    /// Numbers of each parameter by its name.
    pub(crate) fn parameters(&self) -> &BTreeMap<String, f64> {
        &self.parameters
    }

    /// The bytes that the pass holds at once.
    pub(crate) fn peak(&self) -> Peak {
        let (kept, forward) = self.forward();
        Peak {
            kept,
            most: forward.max(self.back(kept)),
            scratch: self.scratch(),
        }
    }

    /// What is left when the pass has gone forward, and the most on its way.
    fn forward(&self) -> (f64, f64) {
        let (held, kept) = (self.held(), self.kept());
        let mut last_use: Vec<usize> = (0..self.nodes.len()).collect();
        for (i, node) in self.nodes.iter().enumerate() {
            for &input in &node.inputs {
                last_use[input] = i;
            }
        }
        // What a view shows lives as long as the view.
        for i in (0..self.nodes.len()).rev() {
            if self.nodes[i].kind == Kind::View {
                let of = self.nodes[i].inputs[0];
                last_use[of] = last_use[of].max(last_use[i]);
            }
        }
        // A block's graph lives until its output is there, which is then copied out of it.
        let mut copied = vec![0.0; self.nodes.len()];
        for &[first, last] in &self.blocks {
            copied[last] = self.nodes[last].bytes;
            for i in first..last {
                if held[i] {
                    last_use[i] = last_use[i].max(last);
                }
            }
        }
        let mut freed_at = vec![0.0; self.nodes.len()];
        let (mut now, mut most) = (0.0, 0.0_f64);
        for (i, node) in self.nodes.iter().enumerate() {
            if is_made(node) {
                now += node.bytes;
                if !kept[i] {
                    freed_at[last_use[i]] += node.bytes;
                }
            }
            most = most.max(now + copied[i]);
            now -= freed_at[i];
        }
        (now, most)
    }

    /// Which tensors are there when the pass has gone forward: those that the graph holds, without the inside of blocks that are made
    /// again.
    fn kept(&self) -> Vec<bool> {
        let mut kept = self.held();
        for &[first, last] in &self.blocks {
            kept[first..last].fill(false);
        }
        kept
    }

    /// Which tensors the graph holds: those with gradients, and what they were made from.
    fn held(&self) -> Vec<bool> {
        let mut kept: Vec<bool> = self.nodes.iter().map(|node| node.tracked).collect();
        for i in (0..self.nodes.len()).rev() {
            let node = &self.nodes[i];
            let holds = node.tracked || (node.kind == Kind::View && kept[i]);
            if holds {
                for &input in &node.inputs {
                    kept[input] = true;
                }
            }
        }
        kept
    }

    /// Bytes of the tensors that gradients go through, without parameters.
    #[cfg(test)]
    pub(crate) fn tracked(&self) -> f64 {
        let made = |node: &&Node| is_made(node) && node.tracked;
        self.nodes.iter().filter(made).map(|node| node.bytes).sum()
    }

    /// The most on the way back, where candle keeps the gradient of each tensor until it comes to it, and adds to one of zeros.
    fn back(&self, mut kept: f64) -> f64 {
        let Some(last) = self.nodes.len().checked_sub(1) else {
            return 0.0;
        };
        let mut has_gradient = vec![false; self.nodes.len()];
        has_gradient[last] = true;
        let mut with_gradient = vec![0.0; self.nodes.len()];
        let mut gradients = self.nodes[last].bytes;
        let mut most = kept + gradients;
        let held = self.held();
        let mut blocks = self.blocks.iter().rev().peekable();
        let mut again = None;
        for (i, node) in self.nodes.iter().enumerate().rev() {
            if let Some((first, bytes)) = again
                && i < first
            {
                kept -= bytes;
                again = None;
            }
            if let Some(&block) = blocks.next_if(|block| block[1] == i) {
                let bytes = self.made_again(block, &held);
                kept += bytes;
                again = Some((block[0], bytes));
            }
            if !(node.tracked && has_gradient[i]) || node.kind == Kind::Leaf {
                continue;
            }
            let inputs = node
                .inputs
                .iter()
                .filter(|&&input| self.nodes[input].tracked);
            let own: f64 = match node.kind {
                Kind::Operation => inputs.clone().map(|&input| self.nodes[input].bytes).sum(),
                _ => 0.0,
            };
            for &input in inputs {
                let bytes = self.nodes[input].bytes;
                if !has_gradient[input] {
                    has_gradient[input] = true;
                    gradients += bytes;
                }
                if node.kind == Kind::Square {
                    with_gradient[input] += 3.0 * bytes;
                    gradients += 3.0 * bytes;
                }
                // The gradient so far, what is added, and the sum.
                most = most.max(kept + gradients + own + bytes);
            }
            gradients -= node.bytes + with_gradient[i];
        }
        most
    }

    /// The most that one operation needs for itself. Threads keep these buffers, so that they are there from then on.
    fn scratch(&self) -> f64 {
        let forward_only = |node: &Node| !node.tracked;
        self.nodes.iter().fold(0.0, |most: f64, node| {
            let back = if forward_only(node) {
                0.0
            } else {
                node.scratch[1]
            };
            most.max(node.scratch[0]).max(back)
        })
    }

    /// What each layer keeps, or needs for itself, whichever is more; the largest first.
    pub(crate) fn layers(&self) -> Vec<(&str, f64)> {
        let kept = self.held();
        let mut of_layers = vec![[0.0_f64; 2]; self.layers.len()];
        for (node, kept) in self.nodes.iter().zip(kept) {
            let [held, scratch] = &mut of_layers[node.layer];
            if kept && is_made(node) {
                *held += node.bytes;
            }
            *scratch = scratch.max(node.scratch[0]);
            if node.tracked {
                *scratch = scratch.max(node.scratch[1]);
            }
        }
        let names = self.layers.iter().map(String::as_str);
        let mut layers: Vec<_> = names
            .zip(of_layers.into_iter().map(|[held, scratch]| held + scratch))
            .collect();
        layers.sort_by(|a, b| b.1.total_cmp(&a.1));
        layers
    }
}

/// Bytes that a pass holds besides parameters and inputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Peak {
    /// Tensors kept for the way back.
    pub(super) kept: f64,
    /// The most tensors at once, with gradients and without scratch.
    pub(super) most: f64,
    /// Buffers of the operations.
    pub(super) scratch: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch() -> Sketch {
        Sketch::new(WIDE, 2.0, Recompute::None)
    }

    #[test]
    fn a_block_that_is_made_again_is_not_kept() {
        let pass = |recompute| {
            let mut s = Sketch::new(WIDE, 2.0, recompute);
            let w = s.parameter("w", 1.0);
            let mut h = s.operation(100.0, &[w], [0.0; 2]);
            for _ in 0..2 {
                s.block_begins();
                let inside = s.operation(300.0, &[h], [0.0; 2]);
                h = s.operation(100.0, &[inside], [0.0; 2]);
                s.block_ends();
            }
            s.peak()
        };
        // 400, and twice 1200 + 400; the most is at the last operation: the gradient of the output, and three of 1200.
        let plain = pass(Recompute::None);
        assert_eq!(plain.kept.to_bits(), 3600_f64.to_bits());
        assert_eq!(
            plain.most.to_bits(),
            (3600.0 + 400.0 + 3600.0_f64).to_bits()
        );
        // Three outputs are left. On the way back through a block there are its inside and output again and a copy of its input: 2000.
        let again = pass(Recompute::Blocks);
        assert_eq!(again.kept.to_bits(), 1200_f64.to_bits());
        assert_eq!(
            again.most.to_bits(),
            (1200.0 + 2000.0 + 400.0 + 3600.0_f64).to_bits()
        );
    }

    #[test]
    fn a_chain_with_gradients_is_kept_and_one_without_is_not() {
        let pass = |frozen: bool| {
            let mut s = sketch();
            s.freeze(frozen);
            let x = s.input(100.0);
            let w = s.parameter("w", 10.0);
            let mut h = s.operation(100.0, &[x, w], [7.0, 9.0]);
            for _ in 0..4 {
                h = s.operation(100.0, &[h], [0.0; 2]);
            }
            s.peak()
        };
        // Five tensors of 400 bytes; on the way back two gradients, a sum and what is added.
        let trained = pass(false);
        assert_eq!(trained.kept.to_bits(), 2000_f64.to_bits());
        assert_eq!(trained.most.to_bits(), (2000.0 + 4.0 * 400.0_f64).to_bits());
        assert_eq!(trained.scratch.to_bits(), 36_f64.to_bits());
        // Two at a time, the last of which is left; and the way forward alone needs no more.
        let drawn = pass(true);
        assert_eq!(
            [drawn.kept, drawn.most].map(f64::to_bits),
            [0.0, 800.0_f64].map(f64::to_bits)
        );
        assert_eq!(drawn.scratch.to_bits(), 28_f64.to_bits());
    }

    #[test]
    fn a_gradient_that_waits_is_counted_until_its_turn() {
        // A tensor that is used again at the end: its gradient waits while the way back goes through all between.
        let mut s = sketch();
        let w = s.parameter("w", 100.0);
        let first = s.operation(100.0, &[w], [0.0; 2]);
        let between = s.operation(1.0, &[first], [0.0; 2]);
        let between = s.operation(100.0, &[between], [0.0; 2]);
        s.sum(between, first);
        // Kept: 400 + 4 + 400 + 400. At the sum: its own gradient, those of both inputs, and a sum: 4 × 400.
        let peak = s.peak();
        assert_eq!(peak.kept.to_bits(), 1204_f64.to_bits());
        assert_eq!(peak.most.to_bits(), (1204.0 + 1600.0_f64).to_bits());
    }

    #[test]
    fn a_square_leaves_what_its_gradient_was_made_from() {
        let mut s = sketch();
        let w = s.parameter("w", 100.0);
        let x = s.operation(100.0, &[w], [0.0; 2]);
        let square = s.squares(x);
        s.operation(1.0, &[square], [0.0; 2]);
        // Kept: 400 + 400 + 4. At the first operation: the gradients of x and of w, zeros, product and double beside that of x, what is
        // added to that of w, and their sum: 7 × 400.
        let peak = s.peak();
        assert_eq!(peak.kept.to_bits(), 804_f64.to_bits());
        assert_eq!(peak.most.to_bits(), (804.0 + 2800.0_f64).to_bits());
    }

    #[test]
    fn absurd_sizes_are_large_numbers() {
        let mut s = sketch();
        let w = s.parameter("w", 1e30);
        s.operation(1e300, &[w], [1e300; 2]);
        assert!(s.peak().most >= 1e300, "{:?}", s.peak());
    }
}
