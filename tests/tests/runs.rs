//! The real trainer's runs, made a second time by the reference's program.

use sadm_crosscheck::{
    Result,
    trainer::runs::{run, runs},
};

/// Runs of every kind in each half; `sadm verify --runs` makes more of them.
const RUNS: u32 = 16;

/// The smallest whole thing: θ denoises.
const PLAIN: &str = "\
[data]
limit = 40
[model]
kind = \"unet\"
[model.unet]
channels = [4]
blocks = 1
attention = []
heads = 1
groups = 2
emb_dim = 6
time_dim = 4
[structure]
method = \"none\"
[train]
steps = 4
batch = 3
compute = \"f64\"
[sample]
count = 1
steps = 1
[shadow]
every = 1
[checkpoint]
every = 1
";

#[test]
fn a_plain_run_is_recomputed() -> Result<()> {
    let held = run(PLAIN)?;
    assert_eq!(held.failure, None, "{held:?}");
    assert!(held.drawn > 500 && held.computed > 10_000, "{held:?}");
    Ok(())
}

/// Rounds of two θ-descents until the gains of two rounds nearly cancel: a decision that the last descent alone, or the middle of a
/// round, would make earlier.
const BALANCED: &str = "\
[data]
limit = 40
[model]
kind = \"unet\"
[model.unet]
channels = [4]
blocks = 1
attention = []
heads = 1
groups = 2
emb_dim = 6
time_dim = 4
[encoder]
widths = [4]
groups = 2
dim = 3
batch = 5
[adversarial]
theta_steps = 2
until = \"balance\"
balance_window = 2
balance_tolerance = 0.6
[phases]
encoder = 1
denoise = 0
guided = 0
adversarial = 9
[train]
steps = 40
batch = 3
compute = \"f64\"
learning_rate = 0.01
log_every = 1
[sample]
count = 1
steps = 1
[shadow]
every = 1
[checkpoint]
every = 1
";

#[test]
fn a_run_ends_when_its_window_is_balanced() -> Result<()> {
    let held = run(BALANCED)?;
    assert_eq!((&held.failure, &held.undecided), (&None, &None), "{held:?}");
    // 4 of the encoder, then 14 of 36.
    assert_eq!(held.steps, 18, "{held:?}");
    Ok(())
}

/// Draws runs, each of which must be what the second program makes of its configuration.
fn are_recomputed(seed: u64) -> Result<()> {
    let report = runs(RUNS, seed, &mut |_| {})?;
    if let Some((text, failure)) = &report.failure {
        panic!("{failure}\n{text}");
    }
    println!("{report}");
    assert_eq!(report.runs, RUNS);
    let said_nothing = report.undecided + report.refused;
    assert!(said_nothing < RUNS / 4, "{report}");
    Ok(())
}

// Two halves, for two processes.
#[test]
fn runs_are_recomputed() -> Result<()> {
    are_recomputed(1)
}

#[test]
fn other_runs_are_recomputed() -> Result<()> {
    are_recomputed(2)
}
