//! The structural loss with its gradient: the training system in f32 and the reference in f64.

use candle_core::{DType, Device, Var};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ndarray::Array2;
use sadm::gpu::random::Streams;
use sadm::{gpu, reference};

/// |B| and d: where the B×B form is chosen, and where the d×d form is.
const SHAPES: [(usize, usize); 3] = [(64, 64), (256, 64), (64, 512)];
const RELATIONS: [&str; 2] = ["cosine", "euclidean"];

fn training_system(c: &mut Criterion) {
    let mut group = c.benchmark_group("structural_loss/training_system_f32");
    for relation in RELATIONS {
        for (batch, dim) in SHAPES {
            let [real, generated] = ["real", "generated"].map(|name| {
                let normal = Streams::new(1)
                    .normal_tensor(name, 0, &[batch, dim], &Device::Cpu, DType::F32)
                    .expect("a CPU tensor");
                Var::from_tensor(&normal).expect("a CPU variable")
            });
            let options = gpu::structure::StructureOptions {
                relation: match relation {
                    "cosine" => gpu::structure::Relation::Cosine,
                    _ => gpu::structure::Relation::Euclidean,
                },
                distance: gpu::structure::Distance::Squared,
                diagonal: gpu::structure::Diagonal::Include,
            };
            let id = BenchmarkId::new(relation, format!("{batch}x{dim}"));
            group.bench_function(id, |b| {
                b.iter(|| {
                    gpu::structure::structural_loss(&real, &generated, &[2.0], &options)
                        .and_then(|loss| Ok(loss.backward()?))
                        .expect("generic features have a loss")
                });
            });
        }
    }
}

fn reference_f64(c: &mut Criterion) {
    let mut group = c.benchmark_group("structural_loss/reference_f64");
    for relation in RELATIONS {
        for (batch, dim) in SHAPES {
            let [real, generated] = ["real", "generated"].map(|name| {
                let normal = Streams::new(1).normal(name, 0, batch * dim);
                let wide = normal.into_iter().map(f64::from).collect();
                Array2::from_shape_vec((batch, dim), wide).expect("as many numbers as places")
            });
            let options = reference::structure::StructureOptions {
                relation: relation.parse().expect("a relation's name"),
                distance: reference::distance::Distance::Squared,
                diagonal: reference::structure::Diagonal::Include,
            };
            let id = BenchmarkId::new(relation, format!("{batch}x{dim}"));
            group.bench_function(id, |b| {
                b.iter(|| {
                    reference::structure::structural_loss(&real, &generated, &[2.0], &options)
                        .expect("generic features have a loss")
                });
            });
        }
    }
}

criterion_group!(benches, training_system, reference_f64);
criterion_main!(benches);
