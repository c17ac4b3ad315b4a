//! The Inception network of FID by the names of its published conversion.

use serde_json::json;

use super::plan::Plan;
use super::shapes::{Keys, Shapes};
use super::{Found, Layout};

/// The names of torchvision, as pytorch-fid and torch-fidelity have them.
pub(super) const INCEPTION: Layout = Layout {
    name: "inception-fid",
    about: "Inception of 2015-12-05 with 1008 classes, as pytorch-fid and torch-fidelity publish it",
    family: "inception-fid",
    order: "",
    anchor: "Conv2d_1a_3x3.conv.weight",
    find,
    to_hub: Plan::same,
    from_hub: Plan::same,
};

/// A convolution: its name, outputs, inputs, height and width.
type Conv = (String, [usize; 4]);

/// The convolutions of a branch, one after another.
fn branch(block: &str, mut inputs: usize, layers: &[(&str, usize, [usize; 2])]) -> Vec<Conv> {
    let mut convolutions = Vec::new();
    for &(layer, outputs, [height, width]) in layers {
        convolutions.push((format!("{block}.{layer}"), [outputs, inputs, height, width]));
        inputs = outputs;
    }
    convolutions
}

const ONE: [usize; 2] = [1, 1];
const THREE: [usize; 2] = [3, 3];
const WIDE: [usize; 2] = [1, 7];
const HIGH: [usize; 2] = [7, 1];

fn convolutions() -> Vec<Conv> {
    let mut all: Vec<Conv> = [
        ("Conv2d_1a_3x3", [32, 3, 3, 3]),
        ("Conv2d_2a_3x3", [32, 32, 3, 3]),
        ("Conv2d_2b_3x3", [64, 32, 3, 3]),
        ("Conv2d_3b_1x1", [80, 64, 1, 1]),
        ("Conv2d_4a_3x3", [192, 80, 3, 3]),
    ]
    .map(|(name, shape)| (name.to_owned(), shape))
    .into();
    for (block, inputs, pooled) in [
        ("Mixed_5b", 192, 32),
        ("Mixed_5c", 256, 64),
        ("Mixed_5d", 288, 64),
    ] {
        all.extend(branch(block, inputs, &[("branch1x1", 64, ONE)]));
        all.extend(branch(
            block,
            inputs,
            &[("branch5x5_1", 48, ONE), ("branch5x5_2", 64, [5, 5])],
        ));
        all.extend(branch(block, inputs, &doubled([64, 96, 96])));
        all.extend(branch(block, inputs, &[("branch_pool", pooled, ONE)]));
    }
    all.extend(branch("Mixed_6a", 288, &[("branch3x3", 384, THREE)]));
    all.extend(branch("Mixed_6a", 288, &doubled([64, 96, 96])));
    for (block, inner) in [
        ("Mixed_6b", 128),
        ("Mixed_6c", 160),
        ("Mixed_6d", 160),
        ("Mixed_6e", 192),
    ] {
        all.extend(branch(block, 768, &[("branch1x1", 192, ONE)]));
        all.extend(branch(
            block,
            768,
            &[
                ("branch7x7_1", inner, ONE),
                ("branch7x7_2", inner, WIDE),
                ("branch7x7_3", 192, HIGH),
            ],
        ));
        all.extend(branch(
            block,
            768,
            &[
                ("branch7x7dbl_1", inner, ONE),
                ("branch7x7dbl_2", inner, HIGH),
                ("branch7x7dbl_3", inner, WIDE),
                ("branch7x7dbl_4", inner, HIGH),
                ("branch7x7dbl_5", 192, WIDE),
            ],
        ));
        all.extend(branch(block, 768, &[("branch_pool", 192, ONE)]));
    }
    all.extend(branch(
        "Mixed_7a",
        768,
        &[("branch3x3_1", 192, ONE), ("branch3x3_2", 320, THREE)],
    ));
    all.extend(branch(
        "Mixed_7a",
        768,
        &[
            ("branch7x7x3_1", 192, ONE),
            ("branch7x7x3_2", 192, WIDE),
            ("branch7x7x3_3", 192, HIGH),
            ("branch7x7x3_4", 192, THREE),
        ],
    ));
    for (block, inputs) in [("Mixed_7b", 1280), ("Mixed_7c", 2048)] {
        all.extend(branch(block, inputs, &[("branch1x1", 320, ONE)]));
        all.extend(branch(
            block,
            inputs,
            &[("branch3x3_1", 384, ONE), ("branch3x3_2a", 384, [1, 3])],
        ));
        all.extend(branch(block, 384, &[("branch3x3_2b", 384, [3, 1])]));
        all.extend(branch(
            block,
            inputs,
            &[
                ("branch3x3dbl_1", 448, ONE),
                ("branch3x3dbl_2", 384, THREE),
                ("branch3x3dbl_3a", 384, [1, 3]),
            ],
        ));
        all.extend(branch(block, 384, &[("branch3x3dbl_3b", 384, [3, 1])]));
        all.extend(branch(block, inputs, &[("branch_pool", 192, ONE)]));
    }
    all
}

/// A 1×1 convolution and two of 3×3.
fn doubled(outputs: [usize; 3]) -> [(&'static str, usize, [usize; 2]); 3] {
    [
        ("branch3x3dbl_1", outputs[0], ONE),
        ("branch3x3dbl_2", outputs[1], THREE),
        ("branch3x3dbl_3", outputs[2], THREE),
    ]
}

/// The published names, with the counters of later versions of PyTorch or without.
pub(super) fn shapes(counted: bool) -> Shapes {
    let mut keys = Keys::default();
    for (name, shape) in convolutions() {
        keys.put(format!("{name}.conv.weight"), &shape);
        for part in ["weight", "bias", "running_mean", "running_var"] {
            keys.put(format!("{name}.bn.{part}"), &shape[..1]);
        }
        if counted {
            keys.put(format!("{name}.bn.num_batches_tracked"), &[]);
        }
    }
    keys.affine("fc", &[1008, 2048]);
    keys.0
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one of the functions of a layout, of which others find nothing"
)]
fn find(there: &Shapes) -> Option<Found> {
    let counted = there.contains_key("Conv2d_1a_3x3.bn.num_batches_tracked");
    Some(Found {
        shapes: shapes(counted),
        config: json!({ "num_classes": 1008, "counters": counted }),
        classes: None,
    })
}
