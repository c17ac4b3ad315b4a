//! Strided convolutions on both paths, and windows that do not fit.

use candle_core::{DType, Device, Tensor, Var};
use sadm_gpu::features::layers::{Window, max_pool};
use sadm_gpu::nn::{composed, conv2d_strided};

use crate::hashed::uniform;

fn drawn(name: &str, shape: &[usize]) -> Tensor {
    let values: Vec<f64> = uniform(name, shape.iter().product()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many as asked for")
}

#[test]
fn strided_convolutions_agree_on_both_paths() {
    let shapes = [
        ([2, 3, 9, 8], [4, 3, 3, 3], 2, (0, 0)),
        ([1, 2, 17, 16], [3, 2, 3, 3], 2, (1, 1)),
        ([1, 2, 7, 12], [2, 2, 1, 7], 1, (0, 3)),
        ([2, 1, 12, 7], [2, 1, 7, 1], 3, (3, 0)),
        ([1, 5, 5, 5], [33, 5, 5, 5], 1, (2, 2)),
    ];
    for (x, weight, stride, padding) in shapes {
        let (x, weight, bias) = (
            drawn("x", &x),
            drawn("w", &weight),
            drawn("b", &weight[..1]),
        );
        let fused = conv2d_strided(&x, &weight, Some(&bias), stride, padding).expect("it fits");
        let composed = composed::conv2d_strided(&x, &weight, Some(&bias), stride, padding);
        let composed = composed.expect("it fits");
        assert_eq!(fused.dims(), composed.dims());
        let apart = (fused - composed).and_then(|d| d.abs()?.flatten_all()?.to_vec1::<f64>());
        // 125 products of numbers below 1, in two orders. Each by itself: candle's maximum would pass over NaN.
        for apart in apart.expect("numbers") {
            assert!(
                apart <= 2.0 * 126.0 * 126.0 * f64::EPSILON,
                "{:?}: {apart:e}",
                x.dims()
            );
        }
    }
}

#[test]
fn a_stride_has_no_gradient_and_says_so() {
    let x = Var::from_tensor(&drawn("x", &[1, 1, 5, 5])).expect("a variable");
    let weight = drawn("w", &[1, 1, 3, 3]);
    let y = conv2d_strided(x.as_tensor(), &weight, None, 2, (0, 0)).expect("it fits");
    let refused = y
        .sum_all()
        .and_then(|y| y.backward())
        .expect_err("no gradient")
        .to_string();
    assert!(
        refused.contains("stride of a convolution with gradients must be 1, got 2"),
        "{refused}"
    );
    let refused = conv2d_strided(x.as_tensor(), &weight, None, 0, (0, 0)).expect_err("stride 0");
    assert!(refused.to_string().contains("stride"), "{refused}");
}

#[test]
fn a_window_must_fit() {
    let x = Tensor::zeros((1, 1, 2, 5), DType::F32, &Device::Cpu).expect("zeros");
    let window = Window {
        side: 3,
        stride: 2,
        padding: 0,
        ceil: false,
    };
    let refused = max_pool(&x, window).expect_err("two rows").to_string();
    assert!(refused.contains("fit into an image of side 2"), "{refused}");
}
