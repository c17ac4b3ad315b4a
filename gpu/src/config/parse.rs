//! Reading, overriding, checking and writing a [`Config`].

use super::{
    AdversarialConfig, Config, DatasetKind, Decay, EncoderTraining, LimitBy, ModelConfig,
    ObjectiveConfig, PhaseConfig, SampleConfig, StructureConfig, StructureMethod, TrainConfig,
};
use crate::config::presets::preset_text;
use crate::coupling::CouplingConfig;
use crate::forward::schedule::Schedule;
use crate::network::{ARCHITECTURES, Architecture, architecture};
use crate::objective::parametrisation::Parametrisation;
use crate::objective::variance::PredictedVariance;
use crate::run::SampleRequest;
use std::path::PathBuf;
use toml::{Table, Value};

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is not TOML.
    #[error("{origin}: not valid TOML: {problem}")]
    Syntax {
        /// File or preset.
        origin: String,
        /// What the parser says, in one line.
        problem: String,
    },
    /// A key that no configuration has.
    #[error("{origin}: unknown key `{key}`{}", hint(nearest.as_deref()))]
    UnknownKey {
        /// File, preset or `--set`.
        origin: String,
        /// The full dotted key.
        key: String,
        /// The known key that resembles it most.
        nearest: Option<String>,
    },
    /// A known key with a value of the wrong type or outside its domain.
    #[error("{origin}: {problem}")]
    Value {
        /// File, preset or `--set`.
        origin: String,
        /// Which key, what it must be, what it is.
        problem: String,
    },
    /// An override that is not `key=value`.
    #[error("`--set {got}` must have the form key=value, as in `--set train.steps=60`")]
    Override {
        /// The refused text.
        got: String,
    },
    /// A preset that does not exist.
    #[error("unknown preset `{got}`{}, the presets are {known}", hint(nearest.as_deref()))]
    Preset {
        /// The refused name.
        got: String,
        /// The preset that resembles it most.
        nearest: Option<String>,
        /// All presets.
        known: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}

/// The known name nearest to `got`, if any is near.
fn nearest<'a>(got: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|name| (strsim::jaro_winkler(got, name), name))
        .filter(|(similarity, _)| *similarity >= 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
}

/// Every dotted key of a table, leaves only.
fn keys(table: &Table, prefix: &str, out: &mut Vec<String>) {
    for (key, value) in table {
        let path = join(prefix, key);
        match value {
            Value::Table(inner) => keys(inner, &path, out),
            _ => out.push(path),
        }
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}

/// Lays `over` on `base`: tables merge, everything else replaces.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(over)) => merge(inner, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// What the small transformer was called before the published one took the name.
const OLD_DIT: &str = "model.dit";
/// What it is called today.
const DIT_SMALL: &str = "model.dit-small";
/// Keys that the small transformer has, and the published one does not.
const OF_DIT_SMALL: [&str; 4] = ["patch", "dim", "heads", "time_dim"];

/// Replaces the names of older versions by today's.
///
/// A section `model.dit` with a key of the small transformer was written before the published one had this name: the section is
/// `model.dit-small` today, and `model.kind = "dit"` beside it means `dit-small`.
fn todays_names(table: &mut Table, origin: &str) -> Result<(), ConfigError> {
    let Some((model, key)) = holder(table, OLD_DIT) else {
        return Ok(());
    };
    let is_old = |section: &Table| OF_DIT_SMALL.iter().any(|key| section.contains_key(*key));
    if !model.get(key).and_then(Value::as_table).is_some_and(is_old) {
        return Ok(());
    }
    let section = model.remove(key);
    small_kind(table);
    // Today's name is beside the old one.
    if let (Some((model, key)), Some(section)) = (holder(table, DIT_SMALL), section)
        && model.insert(key.to_owned(), section).is_some()
    {
        return Err(ConfigError::Value {
            origin: origin.to_owned(),
            problem: format!(
                "`{OLD_DIT}` is an older name of `{DIT_SMALL}` where it has {}: only one of them may be given",
                OF_DIT_SMALL.map(|key| format!("`{key}`")).join(", ")
            ),
        });
    }
    Ok(())
}

/// `model.kind = "dit"` as `dit-small`.
fn small_kind(table: &mut Table) {
    if let Some((model, key)) = holder(table, "model.kind")
        && let Some(kind) = model.get_mut(key)
        && kind.as_str() == Some("dit")
    {
        *kind = Value::from("dit-small");
    }
}

/// The section `model.dit` under today's name of the small transformer, where that one has none.
fn small_section(table: &mut Table) {
    if let Some((model, old)) = holder(table, OLD_DIT)
        && let Some(section) = model.remove(old)
        && let Some((model, today)) = holder(table, DIT_SMALL)
    {
        model.insert(today.to_owned(), section);
    }
}

/// Whether an override sets a key of the small transformer under its old name.
fn sets_old_dit(assignment: &str) -> bool {
    let key = assignment.split_once('=').map_or("", |(key, _)| key.trim());
    let key = key
        .strip_prefix(OLD_DIT)
        .and_then(|key| key.strip_prefix('.'));
    key.is_some_and(|key| OF_DIT_SMALL.contains(&key))
}

/// The table that holds a dotted key, and the key in it.
fn holder<'a, 'b>(table: &'a mut Table, key: &'b str) -> Option<(&'a mut Table, &'b str)> {
    match key.split_once('.') {
        None => Some((table, key)),
        Some((section, rest)) => holder(table.get_mut(section)?.as_table_mut()?, rest),
    }
}

/// One line of a TOML error.
fn one_line(error: &impl ToString) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('|') && !line.contains(" | "))
        .collect();
    // Types as a person calls them.
    lines
        .join(", ")
        .replace("expected usize", "expected a whole number of at least 0")
        .replace("expected u64", "expected a whole number of at least 0")
}

/// The table that an override `key=value` means.
fn parsed(assignment: &str) -> Result<Table, ConfigError> {
    let bad = || ConfigError::Override {
        got: assignment.to_owned(),
    };
    let (key, text) = assignment.split_once('=').ok_or_else(bad)?;
    let (key, text) = (key.trim(), text.trim());
    if key.is_empty() || text.is_empty() || key.split('.').any(str::is_empty) {
        return Err(bad());
    }
    let value = format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    let mut value = value;
    for part in key.rsplit('.') {
        let mut table = Table::new();
        table.insert(part.to_owned(), value);
        value = Value::Table(table);
    }
    let Value::Table(table) = value else {
        return Err(bad());
    };
    Ok(table)
}

/// Takes the value of an override as it was typed where the key holds a text: a folder may be called `2024` or `true`.
fn texts_as_typed(known: &Table, over: &mut Table, assignment: &str) {
    for (key, value) in over {
        match (known.get(key), value) {
            (Some(Value::Table(known)), Value::Table(over)) => {
                texts_as_typed(known, over, assignment);
            }
            (Some(Value::String(_)), value) if !value.is_str() => {
                let text = assignment
                    .split_once('=')
                    .map_or("", |(_, text)| text.trim());
                *value = Value::String(text.to_owned());
            }
            _ => {}
        }
    }
}

impl Config {
    /// The configuration of the embedded preset `name`.
    pub fn preset(name: &str) -> Result<Self, ConfigError> {
        let text = preset_text(name).ok_or_else(|| ConfigError::Preset {
            got: name.to_owned(),
            nearest: nearest(name, super::PRESETS.iter().map(|p| p.name)),
            known: super::PRESETS
                .iter()
                .map(|p| p.name)
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        Self::from_toml(text, &format!("preset {name}"))
    }

    /// Reads a TOML text; keys that are absent have their defaults. `origin` names it in errors.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let table: Table = text
            .parse()
            .map_err(|e: toml::de::Error| ConfigError::Syntax {
                origin: origin.to_owned(),
                problem: one_line(&e),
            })?;
        Self::default().overlaid(table, origin)?.checked(origin)
    }

    /// This configuration with one override `key=value`; the value is TOML, bare words are strings.
    pub fn with_set(&self, assignment: &str) -> Result<Self, ConfigError> {
        self.with_sets([assignment])
    }

    /// This configuration with several overrides, checked when all of them are there; of two for one key the last holds.
    pub fn with_sets<'a>(
        &self,
        assignments: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, ConfigError> {
        let (mut config, mut origins) = (self.clone(), Vec::<String>::new());
        let assignments: Vec<&str> = assignments.into_iter().collect();
        // One key that only the small transformer had says which of the two is meant by all of them.
        let names_kind = assignments
            .iter()
            .any(|text| text.starts_with("model.kind"));
        let of_old_dit = assignments.iter().any(|text| sets_old_dit(text))
            && (names_kind || !self.model.is_published_dit());
        for assignment in assignments {
            let origin = format!("--set {assignment}");
            let mut over = parsed(assignment)?;
            if of_old_dit {
                small_section(&mut over);
                small_kind(&mut over);
            }
            texts_as_typed(&config.to_table(), &mut over, assignment);
            config = config.overlaid(over, &origin)?;
            origins.push(origin);
        }
        config.checked(&origins.join(" "))
    }

    /// This configuration with `over` laid on it.
    fn overlaid(&self, mut over: Table, origin: &str) -> Result<Self, ConfigError> {
        let mut base = self.to_table();
        // Of a configuration that has the published network a key of the small one is refused as unknown.
        if holder(&mut over, "model.kind").is_some_and(|(model, key)| model.contains_key(key))
            || !self.model.is_published_dit()
        {
            todays_names(&mut over, origin)?;
        }
        self.refuse_unknown(&over, origin)?;
        integers_where_floats(&base, &over, origin)?;
        merge(&mut base, over);
        Value::Table(base)
            .try_into()
            .map_err(|e: toml::de::Error| ConfigError::Value {
                origin: origin.to_owned(),
                problem: one_line(&e),
            })
    }

    fn checked(self, origin: &str) -> Result<Self, ConfigError> {
        self.validate().map_err(|problem| ConfigError::Value {
            origin: origin.to_owned(),
            problem,
        })?;
        Ok(self)
    }

    fn refuse_unknown(&self, over: &Table, origin: &str) -> Result<(), ConfigError> {
        let (mut known, mut given) = (Vec::new(), Vec::new());
        keys(&self.to_table(), "", &mut known);
        keys(over, "", &mut given);
        for key in given {
            if !known.contains(&key) {
                let nearest = nearest(&key, known.iter().map(String::as_str));
                return Err(ConfigError::UnknownKey {
                    origin: origin.to_owned(),
                    key,
                    nearest,
                });
            }
        }
        Ok(())
    }

    fn to_table(&self) -> Table {
        match Value::try_from(self) {
            Ok(Value::Table(table)) => table,
            other => unreachable!("a Config serialises to a table, got {other:?}"),
        }
    }

    /// The configuration that a run's folder holds. A key that its version did not know has the meaning of that time.
    ///
    /// # Errors
    /// As [`Config::from_toml`].
    pub fn of_run(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let mut config = Self::from_toml(text, origin)?;
        let written = text.parse::<Table>().ok();
        let data = written.as_ref().and_then(|table| table.get("data"));
        if data.is_none_or(|data| data.get("limit_by").is_none()) {
            config.data.limit_by = LimitBy::First;
        }
        Ok(config)
    }

    /// This configuration with `data.dir` as a path that holds in every working directory: `~` is the user's home, and what is
    /// relative begins where this process works.
    ///
    /// # Errors
    /// A home or a working directory that is not known or is no text.
    pub fn with_absolute_paths(mut self) -> Result<Self, ConfigError> {
        self.data.dir = absolute(&self.data.dir, std::env::home_dir()).map_err(|problem| {
            ConfigError::Value {
                origin: "data.dir".to_owned(),
                problem,
            }
        })?;
        Ok(self)
    }

    /// The whole configuration as TOML, every key present.
    pub fn to_toml(&self) -> String {
        self.to_table().to_string()
    }

    /// The first key whose value is outside its domain.
    fn validate(&self) -> Result<(), String> {
        fraction("data.holdout", self.data.holdout)?;
        check(
            "data.dir",
            "name a folder of pictures or a .npz file for data.dataset = \"images\"",
            format!("`{}`", self.data.dir),
            self.data.dataset != DatasetKind::Images || !self.data.dir.is_empty(),
        )?;
        self.model.validate()?;
        self.validate_augment()?;
        self.objective.validate()?;
        self.structure.validate()?;
        self.encoder.validate()?;
        self.adversarial.validate()?;
        self.train.validate()?;
        check(
            "train.batch",
            "be at least 2 for a structural loss",
            self.train.batch,
            self.train.batch >= 2 || self.structure.method == StructureMethod::None,
        )?;
        self.validate_coupling()?;
        self.phases.validate()?;
        self.sample.validate()?;
        self.validate_respacing()?;
        count("checkpoint.keep", self.checkpoint.keep)
    }

    fn validate_respacing(&self) -> Result<(), String> {
        let request = SampleRequest::from_config(self);
        let Some(respacing) = &request.respacing else {
            return Ok(());
        };
        let respaced = respacing.of(&self.objective(), request.options.kind);
        let refused = |e| format!("sample.respacing: {}", one_line(&e));
        respaced.map(|_| ()).map_err(refused)
    }

    fn validate_augment(&self) -> Result<(), String> {
        let (key, p) = ("data.augment", self.data.augment);
        check(key, "be in [0, 1]", p, (0.0..=1.0).contains(&p))?;
        let is_told = |network: &&Architecture| network.inputs.augment.is_some();
        let told: Vec<&str> = ARCHITECTURES
            .iter()
            .filter(is_told)
            .map(|n| n.name)
            .collect();
        let kind = &self.model.kind;
        check(
            key,
            &format!(
                "be 0 for model.kind = {kind}, which cannot be told how images were augmented ({} can; data.flip mirrors images for any network)",
                told.join(" and ")
            ),
            p,
            p <= 0.0 || told.contains(&kind.as_str()),
        )
    }

    fn validate_coupling(&self) -> Result<(), String> {
        let (pool, batch) = (self.coupling.pool, self.train.batch);
        let most = CouplingConfig::LARGEST_POOL;
        check(
            "coupling.pool",
            &format!("be a multiple of train.batch = {batch} up to {most}, or 0 for one batch"),
            pool,
            pool.is_multiple_of(batch) && pool <= most,
        )?;
        check(
            "train.batch",
            &format!(
                "be at most {most} under coupling.method = optimal, which assigns whole batches"
            ),
            batch,
            self.coupling.is_independent() || batch <= most,
        )
    }
}

/// Layers that follow each other: candle walks a graph recursively, and no network of this kind has as many.
const DEEPEST: usize = 1024;

impl ModelConfig {
    fn is_published_dit(&self) -> bool {
        self.kind == "dit"
    }

    fn validate(&self) -> Result<(), String> {
        architecture(&self.kind).map_err(|e| format!("model.kind: {e}"))?;
        for (name, dimensions) in &self.networks {
            let network = architecture(name).map_err(|e| format!("model: {e}"))?;
            let depths = (network.depths)(dimensions)
                .map_err(|e| one_line(&e).replace("in `", &format!("in `model.{name}.")))?;
            for (key, layers) in depths {
                let must = format!("be at most {DEEPEST}");
                check(key, &must, layers, layers <= DEEPEST)?;
            }
        }
        Ok(())
    }
}

impl ObjectiveConfig {
    fn validate(&self) -> Result<(), String> {
        positive("objective.sigma_data", self.sigma_data)?;
        positive("objective.p_std", self.p_std)?;
        check(
            "objective.p_mean",
            "be finite",
            self.p_mean,
            self.p_mean.is_finite(),
        )?;
        positive("objective.sigma_min", self.sigma_min)?;
        check(
            "objective.sigma_max",
            &format!(
                "be finite and above objective.sigma_min = {}",
                self.sigma_min
            ),
            self.sigma_max,
            self.sigma_max.is_finite() && self.sigma_max > self.sigma_min,
        )?;
        check(
            "objective.label_dropout",
            "be in [0, 1]",
            self.label_dropout,
            (0.0..=1.0).contains(&self.label_dropout),
        )?;
        let learnt = self.variance == PredictedVariance::LearnedRange;
        let discrete =
            self.schedule == Schedule::DDPM && self.parametrisation == Parametrisation::Eps;
        check(
            "objective.variance",
            "be none unless objective.schedule = ddpm and objective.parametrisation = eps",
            "learned-range",
            discrete || !learnt,
        )?;
        positive("objective.time_min", self.time_min)?;
        let (_, end) = self.schedule.domain();
        check(
            "objective.time_max",
            &format!(
                "be above objective.time_min = {} and inside the schedule's domain (up to {end})",
                self.time_min
            ),
            self.time_max,
            self.time_max > self.time_min && (self.time_max <= end || !self.time.is_of_t()),
        )
    }
}

impl StructureConfig {
    fn validate(&self) -> Result<(), String> {
        share("structure.weight", self.weight)?;
        positive("structure.eta_t_min", self.eta_t_min)
    }
}

impl EncoderTraining {
    fn validate(&self) -> Result<(), String> {
        check(
            "encoder.widths",
            "name at least one stage, each at least 1",
            format!("{:?}", self.widths),
            !self.widths.is_empty() && !self.widths.contains(&0),
        )?;
        count("encoder.groups", self.groups)?;
        count_to("encoder.dim", self.dim, LARGEST)?;
        count_to("encoder.batch", self.batch, LARGEST)?;
        positive("encoder.learning_rate", self.learning_rate)?;
        share("encoder.weight_decay", self.weight_decay)
    }
}

impl AdversarialConfig {
    fn validate(&self) -> Result<(), String> {
        for (key, v) in [
            ("theta_steps", self.theta_steps),
            ("phi_steps", self.phi_steps),
            ("balance_window", self.balance_window),
        ] {
            check(&format!("adversarial.{key}"), "be at least 1", v, v >= 1)?;
        }
        for (key, v) in [
            ("learning_rate", self.learning_rate),
            ("balance_tolerance", self.balance_tolerance),
        ] {
            check(
                &format!("adversarial.{key}"),
                "be finite and > 0",
                v,
                v.is_finite() && v > 0.0,
            )?;
        }
        Ok(())
    }
}

impl TrainConfig {
    fn validate(&self) -> Result<(), String> {
        count("train.steps", self.steps)?;
        check(
            "train.steps",
            &format!(
                "be at most train.planned = {} under a train.decay (a new run can begin from these weights: --from)",
                self.planned
            ),
            self.steps,
            self.steps <= self.layout() || self.decay == Decay::None,
        )?;
        count_to("train.batch", self.batch, LARGEST)?;
        check(
            "train.micro_batches",
            &format!("be in 1..={}, the images of train.batch", self.batch),
            self.micro_batches,
            (1..=self.batch).contains(&self.micro_batches),
        )?;
        positive("train.learning_rate", self.learning_rate)?;
        fraction("train.warmup", self.warmup)?;
        fraction("train.beta1", self.beta1)?;
        fraction("train.beta2", self.beta2)?;
        positive("train.epsilon", self.epsilon)?;
        share("train.weight_decay", self.weight_decay)?;
        share("train.clip_norm", self.clip_norm)?;
        positive("train.ema_half_life", self.ema_half_life)?;
        positive("train.ema_ramp", self.ema_ramp)?;
        count("train.log_every", self.log_every)
    }
}

impl PhaseConfig {
    fn validate(&self) -> Result<(), String> {
        for (key, v) in [
            ("encoder", self.encoder),
            ("denoise", self.denoise),
            ("guided", self.guided),
            ("adversarial", self.adversarial),
        ] {
            share(&format!("phases.{key}"), v)?;
        }
        let theta = self.denoise + self.guided + self.adversarial;
        check(
            "phases",
            "give denoise, guided and adversarial together more than 0",
            theta,
            theta > 0.0,
        )
    }
}

impl SampleConfig {
    fn validate(&self) -> Result<(), String> {
        count_to("sample.count", self.count, LARGEST)?;
        count_to("sample.steps", self.steps, LARGEST)?;
        positive("sample.sigma_min", self.sigma_min)?;
        check(
            "sample.sigma_max",
            "be above sample.sigma_min and at most 1e6",
            self.sigma_max,
            self.sigma_max > self.sigma_min && self.sigma_max <= 1e6,
        )?;
        positive("sample.rho", self.rho)?;
        check(
            "sample.eta",
            "be in [0, 1]",
            self.eta,
            (0.0..=1.0).contains(&self.eta),
        )?;
        check(
            "sample.guidance",
            "be finite",
            self.guidance,
            self.guidance.is_finite(),
        )
    }
}

/// A path that holds in every working directory; an empty one stays so.
fn absolute(path: &str, home: Option<PathBuf>) -> Result<String, String> {
    if path.is_empty() {
        return Ok(String::new());
    }
    let at_home = match path.strip_prefix('~') {
        Some("") => Some(""),
        Some(rest) => rest.strip_prefix('/'),
        None => None,
    };
    let path = match (at_home, home) {
        (Some(rest), Some(home)) => home.join(rest),
        (Some(_), None) => return Err(format!("`{path}` begins at a home that is not known")),
        (None, _) => PathBuf::from(path),
    };
    let whole = std::path::absolute(&path)
        .map_err(|e| format!("`{}` has no absolute path: {e}", path.display()))?;
    let text = whole.to_str().map(str::to_owned);
    text.ok_or_else(|| format!("`{}` must be a path that is text", whole.display()))
}

fn positive(key: &str, v: f64) -> Result<(), String> {
    check(key, "be finite and > 0", v, v.is_finite() && v > 0.0)
}

fn fraction(key: &str, v: f64) -> Result<(), String> {
    check(key, "be in [0, 1)", v, (0.0..1.0).contains(&v))
}

fn share(key: &str, v: f64) -> Result<(), String> {
    check(key, "be finite and >= 0", v, v.is_finite() && v >= 0.0)
}

/// Of batches, features, and images and steps of a grid: far beyond any use, and no machine runs out of memory for the number alone.
const LARGEST: usize = 1 << 20;

fn count_to(key: &str, v: usize, most: usize) -> Result<(), String> {
    check(
        key,
        &format!("be from 1 to {most}"),
        v,
        (1..=most).contains(&v),
    )
}

fn count(key: &str, v: usize) -> Result<(), String> {
    check(key, "be at least 1", v, v >= 1)
}

fn check(key: &str, must: &str, got: impl std::fmt::Display, ok: bool) -> Result<(), String> {
    if ok {
        Ok(())
    } else {
        Err(format!("{key} must {must}, got {got}"))
    }
}

/// `steps = 1.5` or `weight = "x"` are type errors; name the key, since serde's message does not.
fn integers_where_floats(base: &Table, over: &Table, origin: &str) -> Result<(), ConfigError> {
    fn walk(base: &Table, over: &Table, prefix: &str) -> Result<(), String> {
        for (key, value) in over {
            let path = join(prefix, key);
            match (base.get(key), value) {
                (Some(Value::Table(b)), Value::Table(o)) => walk(b, o, &path)?,
                (Some(b), v) if !compatible(b, v) => {
                    let kind = article(b.type_str());
                    return Err(format!("{path} must be {kind}{}, got {v}", room(b, v)));
                }
                _ => {}
            }
        }
        Ok(())
    }
    walk(base, over, "").map_err(|problem| ConfigError::Value {
        origin: origin.to_owned(),
        problem,
    })
}

/// A float key takes an integer; everything else must have the type of its default.
fn compatible(default: &Value, given: &Value) -> bool {
    default.same_type(given) || (default.is_float() && given.is_integer())
}

/// TOML has no whole numbers beyond 2⁶³ − 1: such a `--set` arrives as text.
fn room(default: &Value, given: &Value) -> String {
    let digits = given
        .as_str()
        .is_some_and(|text| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()));
    if default.is_integer() && digits {
        format!(" of at most {}", i64::MAX)
    } else {
        String::new()
    }
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_a_version_without_limit_by_took_the_first_images() -> Result<(), ConfigError> {
        let old = "[data]\nlimit = 5\n";
        assert_eq!(Config::of_run(old, "old")?.data.limit_by, LimitBy::First);
        assert_eq!(
            Config::from_toml(old, "new")?.data.limit_by,
            LimitBy::Random
        );
        let written = Config::default().to_toml();
        assert_eq!(
            Config::of_run(&written, "new")?.data.limit_by,
            LimitBy::Random
        );
        Ok(())
    }

    /// A configuration as versions before `dit-small` wrote it, and as they were told it.
    #[test]
    fn names_of_older_versions_are_read() -> Result<(), ConfigError> {
        let written = Config::preset("digits-dit")?.with_set("model.dit-small.dim=24")?;
        let new = written.to_toml();
        // The older version knew neither the published network nor its relatives.
        let sections = new.split("\n[").filter(|section| {
            !section.starts_with("model.dit]") && !section.starts_with("model.sit]")
        });
        let old = sections.collect::<Vec<_>>().join("\n[");
        let old = old.replace("model.dit-small", "model.dit");
        let old = old.replace("kind = \"dit-small\"", "kind = \"dit\"");
        assert!(
            old.contains("kind = \"dit\"") && !old.contains("dit-small"),
            "{old}"
        );
        assert_eq!(Config::from_toml(&old, "old")?, written);
        assert_eq!(Config::of_run(&old, "old")?, written);
        let told = Config::default().with_sets(["model.kind=dit", "model.dit.dim=24"])?;
        let today = ["model.kind=dit-small", "model.dit-small.dim=24"];
        assert_eq!(told, Config::default().with_sets(today)?);
        let both = "[model.dit]\ndim = 24\n[model.dit-small]\ndim = 16\n";
        let refused = Config::from_toml(both, "both").expect_err("two names");
        assert!(
            refused
                .to_string()
                .contains("`model.dit` is an older name of `model.dit-small`")
        );
        let reversed = ["model.dit.dim=24", "model.kind=dit"];
        assert_eq!(told, Config::default().with_sets(reversed)?);
        let several =
            Config::preset("digits-dit")?.with_sets(["model.dit.depth=2", "model.dit.dim=24"])?;
        assert_eq!(
            several.model.networks["dit-small"]["depth"].as_integer(),
            Some(2)
        );
        assert_eq!(
            several.model.networks["dit"],
            Config::default().model.networks["dit"]
        );
        let published = Config::default().with_sets(["model.kind=dit", "model.dit.depth=3"])?;
        assert_eq!(published.model.kind, "dit");
        assert_eq!(
            published.model.networks["dit"]["depth"].as_integer(),
            Some(3)
        );
        assert_eq!(Config::from_toml(&published.to_toml(), "new")?, published);
        let refused = published.with_set("model.dit.dim=24").expect_err("small");
        let refused = refused.to_string();
        assert!(refused.contains("unknown key `model.dit.dim`"), "{refused}");
        for (set, says) in [
            (
                "model.dit-small.dym=24",
                "unknown key `model.dit-small.dym`, did you mean `model.dit-small.dim`?",
            ),
            ("model.kind=dat", "unknown network `dat`"),
            ("model.dit-small.dim=-24", "in `model.dit-small.dim`"),
            ("model.unet.channels=[\"a\"]", "in `model.unet.channels"),
        ] {
            let refused = Config::default().with_set(set).expect_err(set).to_string();
            assert!(refused.contains(says), "{refused}");
        }
        Ok(())
    }

    #[test]
    fn paths_hold_everywhere() {
        let home = || Some(PathBuf::from("/home/ada"));
        let here = std::env::current_dir().expect("a working directory");
        let here = |name: &str| here.join(name).display().to_string();
        for (path, want) in [
            ("", String::new()),
            ("/data/mnist", "/data/mnist".to_owned()),
            ("~", "/home/ada".to_owned()),
            ("~/mnist", "/home/ada/mnist".to_owned()),
            ("pictures", here("pictures")),
            ("./~", here("~")),
            ("~eve/mnist", here("~eve/mnist")),
        ] {
            let got = absolute(path, home()).expect("a path");
            assert_eq!(PathBuf::from(got), PathBuf::from(want), "{path}");
        }
        let unknown = absolute("~/mnist", None).expect_err("no home");
        assert!(unknown.contains("`~/mnist`"), "{unknown}");
    }
}
