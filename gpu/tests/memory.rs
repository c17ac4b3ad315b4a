//! The estimate of a run's memory against what the run asks of the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use candle_core::Device;
use sadm_gpu::config::Config;
use sadm_gpu::data::ImageKind;
use sadm_gpu::memory::{Circumstances, Estimate, drawing, estimate, gibibytes};
use sadm_gpu::random::Streams;
use sadm_gpu::run::{Run, SampleRequest};
use sadm_gpu::train::{HoldOut, Silent, Trainer, dataset, split};

/// The system's allocator, counting.
struct Counting;

/// Bytes that are held, and the most that ever were.
static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn more(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(now, Ordering::Relaxed);
}

#[expect(
    unsafe_code,
    reason = "every call is the system's own; only sizes are counted beside it"
)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        more(size);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What is measured is the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The estimate may be this much below what is measured, and this much above.
const FACTORS: [f64; 2] = [0.8, 1.6];

fn config(preset: &str, sets: &[&str]) -> Config {
    let short = [
        "train.steps=8",
        "phases.encoder=0.25",
        "phases.denoise=0.25",
        "phases.guided=0.25",
        "phases.adversarial=0.25",
        // Without an observer there is no shadow check.
        "shadow.every=0",
        "sample.steps=2",
        "sample.every=0",
    ];
    let config = Config::preset(preset).expect("a preset");
    config
        .with_sets(short.iter().chain(sets).copied())
        .expect("known keys")
}

/// Estimated bytes, and those that the run held at its fullest, both beyond its images.
fn judged(config: &Config) -> (Estimate, f64) {
    let data = dataset(config).expect("images");
    let images = ImageKind::of(&data).expect("square images");
    let bytes = (data.images.len() * size_of::<f32>()) as f64;
    let (_, held_out) = split(
        &data,
        config.data.holdout,
        Streams::new(config.seed),
        HoldOut::ByClass,
    )
    .expect("parts");
    let held_out = held_out.len();
    drop(data);
    let threads = rayon::current_num_threads();
    let around = Circumstances {
        images,
        data: bytes,
        held_out,
        threads,
        resumed: false,
    };
    let estimated = estimate(config, &around);
    let folder = tempfile::tempdir().expect("a folder");
    let train = || {
        Trainer::new(config.clone(), folder.path(), &Device::Cpu, None, false)
            .expect("a run")
            .run(&mut Silent, &AtomicBool::new(false))
            .expect("a run without a fault");
    };
    (estimated, held(threads, train) - bytes)
}

/// The most bytes that some work holds, on threads of its own: what others keep for further operations was counted with an earlier run.
fn held(threads: usize, work: impl FnOnce() + Send) -> f64 {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.expect("threads");
    let before = NOW.load(Ordering::SeqCst);
    MOST.store(before, Ordering::SeqCst);
    pool.install(work);
    (MOST.load(Ordering::SeqCst) - before) as f64
}

#[track_caller]
fn holds(name: &str, config: &Config) {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let (estimated, held) = judged(config);
    let ratio = estimated.bytes / held;
    let said = format!(
        "{name}: {} estimated in {} ({:?}), {} held, ratio {ratio:.3}",
        gibibytes(estimated.bytes),
        estimated.when,
        estimated.layer,
        gibibytes(held)
    );
    println!("{said}");
    assert!((FACTORS[0]..=FACTORS[1]).contains(&ratio), "{said}");
}

/// Two classes of coloured noise.
fn pictures(folder: &Path, side: u32, count: u32) -> String {
    for class in 0..2 {
        let within = folder.join(class.to_string());
        std::fs::create_dir_all(&within).expect("a folder");
        for number in 0..count {
            let pixel = |x: u32, y: u32| {
                let noise =
                    (x * 7919 + y * 104_729 + number * 31 + class * 17).wrapping_mul(2_654_435_761);
                let [red, green, blue, _] = noise.to_be_bytes();
                image::Rgb([red, green, blue])
            };
            image::RgbImage::from_fn(side, side, pixel)
                .save(within.join(format!("{number}.png")))
                .expect("a picture");
        }
    }
    format!("data.dir={}", folder.display())
}

#[test]
fn the_digits() {
    holds("digits", &config("digits", &[]));
    holds("digits-dit", &config("digits-dit", &[]));
}

/// What `sample` and `evaluate` ask for: few images, of which the network's answers take the most, and many.
#[test]
fn images_that_are_drawn_from_a_run() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let config = config("digits", &["train.steps=4"]);
    let folder = tempfile::tempdir().expect("a folder");
    Trainer::new(config.clone(), folder.path(), &Device::Cpu, None, false)
        .expect("a run")
        .run(&mut Silent, &AtomicBool::new(false))
        .expect("a run without a fault");
    let threads = rayon::current_num_threads();
    for count in [16, 2000] {
        let mut images = None;
        let drawn = held(threads, || {
            let run = Run::open(folder.path(), &Device::Cpu).expect("a run");
            images = Some(run.images());
            let mut request = SampleRequest::from_config(run.config());
            request.options.steps = 1;
            request.labels = run.conditions().in_order(count);
            run.sample(&request).expect("images");
        });
        let images = images.expect("an opened run");
        let estimated = drawing(&config, images, threads, count);
        let ratio = estimated.bytes / drawn;
        println!("{count} images: ratio {ratio:.3}");
        assert!(
            (FACTORS[0]..=FACTORS[1]).contains(&ratio),
            "{count}: {ratio}"
        );
        assert_eq!(estimated.remedies, [format!("--count = {count}")]);
    }
}

#[test]
fn the_digits_in_every_phase_alone() {
    for phase in ["encoder", "guided", "adversarial"] {
        let only: Vec<String> = ["encoder", "denoise", "guided", "adversarial"]
            .map(|other| {
                // θ needs a phase: after that of the encoder one step of one image.
                let share = f64::from(u8::from(other == phase));
                format!("phases.{other}={share:.1}")
            })
            .into();
        let mut sets: Vec<&str> = only.iter().map(String::as_str).collect();
        if phase == "encoder" {
            sets.extend(["phases.denoise=0.01", "encoder.batch=512"]);
        }
        holds(phase, &config("digits", &sets));
    }
    holds("none", &config("digits", &["structure.method=none"]));
}

/// A network that is small beside what its variances cost.
const LEARNT: [&str; 12] = [
    "model.kind=dit",
    "model.dit.patch_size=4",
    "model.dit.hidden_size=8",
    "model.dit.depth=1",
    "model.dit.num_heads=1",
    "model.dit.learn_sigma=true",
    "structure.method=none",
    "objective.schedule=ddpm",
    "objective.parametrisation=eps",
    "objective.time=uniform",
    "objective.variance=learned-range",
    "train.batch=1024",
];

/// The term of the variances has a share of its own: without it the estimate of such a run would be too small.
#[test]
fn the_term_of_the_variances_is_counted() {
    let estimated = |config: &Config| {
        let images = ImageKind {
            channels: 1,
            size: 8,
            classes: 10,
        };
        let around = Circumstances {
            images,
            data: 0.0,
            held_out: 0,
            threads: 1,
            resumed: false,
        };
        estimate(config, &around)
    };
    let with = config("digits", &LEARNT);
    let without = with.with_set("objective.variance=none").expect("a key");
    let [with, without] = [with, without].map(|config| estimated(&config));
    let share = with.bytes - without.bytes;
    // Some thirty tensors of the batch's size are kept.
    let batch = 1024.0 * 64.0 * 4.0;
    assert!(
        (20.0..60.0).contains(&(share / batch)),
        "{} of {}",
        share / batch,
        with.bytes / batch
    );
}

#[test]
fn what_rounds_ask_for_besides() {
    let large = "train.batch=128";
    for sets in [
        &["adversarial.until=balance", large][..],
        &[
            "adversarial.phi_steps=2",
            "model.unet.emb_dim=2048",
            "train.batch=8",
        ],
        &["structure.relation=euclidean", "train.batch=160"],
        &[
            "structure.distance=absolute",
            "encoder.dim=16",
            "train.batch=512",
        ],
        &["train.compute=bf16"],
        &[
            "train.compute=bf16",
            "model.kind=dit-small",
            "model.dit-small.heads=2",
        ],
        &["model.kind=dit", "model.dit.learn_sigma=true"],
        &LEARNT,
    ] {
        holds(&sets.join(" "), &config("digits", sets));
    }
}

/// Deep enough that what is kept between the blocks, and not what one of them makes inside, decides.
#[test]
fn blocks_that_are_made_again() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let small = ["train.batch=32", "encoder.batch=32", "sample.count=8"];
    for sets in [
        &["model.unet.blocks=6"][..],
        &["model.unet.blocks=4", "train.micro_batches=2"],
        &["model.kind=dit", "model.dit.depth=8"],
        &[
            "model.kind=dit-small",
            "model.dit-small.depth=8",
            "train.compute=bf16",
        ],
        &[
            "model.kind=song-unet",
            "model.song-unet.model_channels=16",
            "model.song-unet.channel_mult=[1, 2]",
            "model.song-unet.attn_resolutions=[4]",
        ],
        &[
            "model.kind=adm",
            "model.adm.model_channels=32",
            "model.adm.channel_mult=[1.0, 1.0]",
            "model.adm.attention_resolutions=[4]",
            "model.adm.num_head_channels=32",
        ],
    ] {
        let sets = [&small, sets].concat();
        let [plain, again] = ["none", "blocks"].map(|recompute| {
            let recompute = format!("train.recompute={recompute}");
            let (estimated, held) = judged(&config("digits", &[&sets[..], &[&recompute]].concat()));
            [estimated.bytes, held]
        });
        let ratios = [again[0] / again[1], plain[0] / plain[1]];
        let less = [again[0] / plain[0], again[1] / plain[1]];
        let said = format!(
            "{sets:?}: estimated/held {:.2} and {:.2} without; of that without {:.2} estimated, {:.2} held",
            ratios[0], ratios[1], less[0], less[1]
        );
        println!("{said}");
        assert!((FACTORS[0]..=FACTORS[1]).contains(&ratios[0]), "{said}");
        assert!(less.iter().all(|less| *less < 0.8), "{said}");
    }
}

#[test]
fn a_few_large_pictures_and_many_small_samples() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = pictures(folder.path(), 64, 8);
    let own = [
        "data.dataset=images",
        &dir,
        "train.batch=4",
        "encoder.batch=4",
        "sample.count=2",
    ];
    let with = |more: &[&str]| config("digits", &[&own, more].concat());
    holds("attention", &with(&[]));
    holds(
        "no attention",
        &with(&[
            "model.unet.channels=[32, 64, 64]",
            "model.unet.attention=[]",
        ]),
    );
    holds(
        "patches",
        &with(&["model.unet.channels=[24, 40]", "model.unet.attention=[]"]),
    );
    holds(
        "dit",
        &with(&["model.kind=dit-small", "model.dit-small.patch=4"]),
    );
    holds(
        "samples",
        &with(&["sample.count=40", "train.batch=2", "encoder.batch=2"]),
    );
    holds(
        "wide",
        &with(&[
            "model.unet.channels=[256]",
            "model.unet.attention=[]",
            "train.batch=2",
            "data.limit=4",
        ]),
    );
}
