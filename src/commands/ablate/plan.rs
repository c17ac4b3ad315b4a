//! Plan of an ablation: arms and variants with equal numbers of θ-steps, each with every seed.

use anyhow::{Result, bail};
use sadm_gpu::config::{Config, PhaseConfig, StructureMethod};
use sadm_gpu::run::phases::{Phase, span};

use super::arm::{Arm, Variant, of_arm};
use super::sweep::Sweeps;

/// One run.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Name of the arm or variant.
    pub name: String,
    /// The arm to which it adds something, or of which it varies a setting.
    pub parent: Option<Arm>,
    /// Name of its folder.
    pub slug: String,
    /// Its configuration, with its seed.
    pub config: Config,
}

/// All runs, in the order in which they are trained.
#[derive(Debug)]
pub struct Plan {
    base: Config,
    trials: Vec<Trial>,
}

impl Plan {
    /// The arms with the first number of seeds, then the variants with the second.
    ///
    /// # Errors
    /// A sweep over an unknown key or a value out of its domain; too many variants; phases that leave an arm without steps; a
    /// configuration whose number of θ-steps is not its own to choose (`adversarial.until = "balance"`).
    pub fn new(
        config: &Config,
        arms: &[Arm],
        sweeps: &Sweeps,
        [seeds, sweep_seeds]: [usize; 2],
    ) -> Result<Self> {
        let base = prepared(config)?;
        let mut arms = arms.to_vec();
        arms.sort_unstable();
        arms.dedup();
        let arm = |&arm: &Arm| Variant {
            name: arm.name().to_owned(),
            parent: arm.parent(),
            config: of_arm(&base, arm),
        };
        let mut variants: Vec<(Variant, usize)> = arms.iter().map(|a| (arm(a), seeds)).collect();
        for variant in sweeps.variants(&base)? {
            if !variants.iter().any(|(other, _)| other.name == variant.name) {
                variants.push((variant, sweep_seeds));
            }
        }
        let trials = variants.into_iter().flat_map(|(variant, seeds)| {
            (0..seeds).map(move |k| Trial {
                slug: slug(&variant.name),
                name: variant.name.clone(),
                parent: variant.parent,
                config: Config {
                    seed: variant.config.seed + k as u64,
                    ..variant.config.clone()
                },
            })
        });
        Ok(Self {
            trials: trials.collect(),
            base,
        })
    }

    /// The configuration that all are made of.
    pub fn base_config(&self) -> &Config {
        &self.base
    }

    /// Every run.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// How many arms and variants there are, each once however many seeds it has.
    pub fn arms(&self) -> usize {
        self.trials.chunk_by(|a, b| a.name == b.name).count()
    }
}

/// With all four phases in whole steps, and nothing written that an ablation does not read.
fn prepared(config: &Config) -> Result<Config> {
    if config.adversarial.until != sadm_gpu::config::AdversarialEnd::Rounds {
        bail!(
            "adversarial.until must be \"rounds\" in an ablation: arms are compared after equal numbers of steps"
        );
    }
    let mut config = config.clone();
    config.structure.method = StructureMethod::Adversarial;
    let steps = |phase: Phase| span(&config, phase).map_or(0, |s| s.end - s.start) as f64;
    config.phases = PhaseConfig {
        encoder: steps(Phase::Encoder),
        denoise: steps(Phase::Denoise),
        guided: steps(Phase::Guided),
        adversarial: steps(Phase::Adversarial),
    };
    let p = &config.phases;
    if [p.encoder, p.denoise, p.guided, p.adversarial].contains(&0.0) {
        bail!(
            "every phase needs a step: train.steps = {} gives encoder, denoise, guided, adversarial {} {} {} {}",
            config.train.steps,
            p.encoder,
            p.denoise,
            p.guided,
            p.adversarial
        );
    }
    config.sample.every = 0;
    config.checkpoint.keep = config.checkpoint.keep.max(16);
    Ok(config)
}

/// A name for a folder: letters, digits, dots, and hyphens for everything else.
fn slug(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    };
    let text: String = name.replace(", ", "-").chars().map(plain).collect();
    text.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::ablate::sweep::Sweep;
    use sadm_gpu::run::phases::phases;

    fn digits() -> Config {
        Config::preset("digits").expect("a preset")
    }

    fn plan_of(sweeps: &[&str], grid: bool) -> Result<Plan> {
        let all: Vec<Sweep> = sweeps.iter().map(|s| s.parse().expect("a sweep")).collect();
        Plan::new(&digits(), &Arm::ALL, &Sweeps { all, grid }, [2, 1])
    }

    fn plan(sweeps: &[&str]) -> Result<Plan> {
        plan_of(sweeps, false)
    }

    fn theta_steps(config: &Config) -> usize {
        let of_theta = phases(config)
            .into_iter()
            .filter(|s| s.phase != Phase::Encoder);
        of_theta.map(|s| s.end - s.start).sum()
    }

    #[test]
    fn every_run_makes_as_many_theta_steps() -> Result<()> {
        let plan = plan(&[
            "relation=euclidean,rbf(2.0)",
            "psi=random",
            "update_order=phi-first",
            "objective.label_dropout=0.2",
        ])?;
        assert_eq!(plan.trials().len(), 3 * 2 + 5);
        for trial in plan.trials() {
            assert_eq!(theta_steps(&trial.config), 810, "{}", trial.name);
        }
        let names: Vec<&str> = plan.trials().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names[..3], ["base", "base", "guided"]);
        assert!(names.contains(&"adversarial, update_order=phi-first"));
        let parent = |name: &str| {
            let trial = plan.trials().iter().find(|t| t.name == name);
            trial.and_then(|t| t.parent)
        };
        for (name, want) in [
            ("base", None),
            ("guided", None),
            ("adversarial", Some(Arm::Guided)),
            ("guided, relation=rbf(2.0)", Some(Arm::Guided)),
            (
                "adversarial, update_order=phi-first",
                Some(Arm::Adversarial),
            ),
        ] {
            assert_eq!(parent(name), want, "{name}");
        }
        let slugs: Vec<&str> = plan.trials().iter().map(|t| t.slug.as_str()).collect();
        assert!(slugs.contains(&"guided-relation-rbf-2.0"), "{slugs:?}");
        assert_eq!(plan.trials()[1].config.seed, 1);
        Ok(())
    }

    #[test]
    fn a_grid_has_every_combination_once() -> Result<()> {
        let sweeps = [
            "relation=cosine,euclidean",
            "psi=classifier,random",
            "update_order=theta-first,phi-first",
        ];
        let plan = plan_of(&sweeps, true)?;
        assert_eq!((plan.arms(), plan.trials().len()), (3 + 8, 3 * 2 + 8));
        for trial in plan.trials() {
            assert_eq!(theta_steps(&trial.config), 810, "{}", trial.name);
        }
        let last = &plan.trials()[3 * 2 + 7];
        assert_eq!(
            last.name,
            "adversarial, relation=euclidean, psi=random, update_order=phi-first"
        );
        assert_eq!(
            last.slug,
            "adversarial-relation-euclidean-psi-random-update-order-phi-first"
        );
        // What is set alone is what is set together.
        let alone = plan_of(&["relation=euclidean"], false)?;
        let alone = &alone.trials()[3 * 2].config.structure.relation;
        assert_eq!(last.config.structure.relation, *alone);
        assert_ne!(plan.trials()[0].config.structure.relation, *alone);
        assert_eq!(last.config.phases.encoder.to_bits(), 0.0_f64.to_bits());
        // One at a time there are as many variants as values.
        assert_eq!(plan_of(&sweeps, false)?.arms(), 3 + 6);
        Ok(())
    }

    #[test]
    fn a_grid_of_too_many_arms_is_refused_with_their_number() {
        let weights = "weight=1,2,3,4,5,6,7,8,9";
        let eight = "objective.label_dropout=0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8";
        let message = format!("{:#}", plan_of(&[weights, eight], true).expect_err("72"));
        for part in ["72 variants", "at most 64", "9 of weight × 8 of"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let message = plan_of(&["weight=1,2", "weight=3"], true).expect_err("one key twice");
        assert!(message.to_string().contains("`weight` twice"), "{message}");
        // Another name of the same key is the same key.
        let both = [
            "update_order=phi-first",
            "adversarial.update_order=phi-first",
        ];
        assert!(plan_of(&both, true).is_err());
    }

    #[test]
    fn what_cannot_be_swept_is_refused() {
        for (sweep, part) in [
            ("relatoin=cosine", "did you mean `relation`?"),
            ("relation=cosin", "--sweep relation=cosin"),
            ("psi=inception", "unknown psi `inception`"),
            ("train.steps=60,90", "cannot be swept"),
            ("structure.relatoin=cosine", "unknown key"),
        ] {
            let message = format!("{:#}", plan(&[sweep]).expect_err(sweep));
            assert!(message.contains(part), "{sweep}: {message}");
        }
        assert!("relation".parse::<Sweep>().is_err());
        assert!("relation=cosine,".parse::<Sweep>().is_err());
        let balance = digits()
            .with_set("adversarial.until=balance")
            .expect("a known value");
        let none = Sweeps {
            all: Vec::new(),
            grid: false,
        };
        assert!(Plan::new(&balance, &Arm::ALL, &none, [1, 1]).is_err());
    }
}
