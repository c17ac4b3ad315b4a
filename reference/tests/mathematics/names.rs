use std::fmt::{Debug, Display};
use std::str::FromStr;

use sadm_reference::UnknownName;
use sadm_reference::choice::{Choice, Slot};
use sadm_reference::denoise::{Weight, weight};
use sadm_reference::distance::{self, Distance};
use sadm_reference::parametrisation::{NoiseCondition, Parametrisation};
use sadm_reference::relation::{self, Relation};
use sadm_reference::schedule::{self, ScheduleKind};
use sadm_reference::structure::{Diagonal, Eta, eta};

fn all<T: ?Sized + Slot>() -> Vec<Choice<T>> {
    Choice::all().collect()
}

/// Every value prints as its name and is found by it.
fn names_are<T>(all: &[T], want: &[&str])
where
    T: Copy + Display + FromStr<Err = UnknownName> + PartialEq + Debug,
{
    let names: Vec<String> = all.iter().map(T::to_string).collect();
    assert_eq!(names, want);
    for (value, name) in all.iter().zip(want) {
        assert_eq!(name.parse::<T>().as_ref(), Ok(value));
    }
}

#[test]
fn every_choice_has_its_name() {
    names_are(
        &all::<schedule::Kind>(),
        &["vp-linear", "cosine", "ddpm", "edm", "rectified-flow"],
    );
    names_are(
        &all::<dyn relation::Kind>(),
        &[
            "cosine",
            "inner-product",
            "squared-euclidean",
            "euclidean",
            "rbf",
            "laplacian",
        ],
    );
    names_are(&all::<distance::Kind>(), &["squared", "absolute", "huber"]);
    names_are(&Diagonal::ALL, &["include", "exclude"]);
    names_are(&all::<eta::Kind>(), &["inverse-time", "constant", "snr"]);
    names_are(&Parametrisation::ALL, &["x0", "eps", "v", "edm", "ve"]);
    names_are(
        &NoiseCondition::ALL,
        &[
            "log-sigma",
            "vp-time",
            "ddpm-step",
            "log-half-sigma",
            "iddpm-step",
        ],
    );
    names_are(
        &all::<weight::Kind>(),
        &[
            "constant",
            "elbo",
            "snr",
            "one-plus-snr",
            "min-snr",
            "edm",
            "soft-truncation",
        ],
    );
}

#[test]
fn an_unknown_name_is_refused_with_the_known_ones() {
    let error = "l2".parse::<Distance>().expect_err("no such distance");
    assert_eq!(
        error.to_string(),
        "distance must be one of squared, absolute, huber, got `l2`"
    );
    let messages = [
        "".parse::<ScheduleKind>().expect_err("empty").to_string(),
        "".parse::<Relation>().expect_err("empty").to_string(),
        "".parse::<Diagonal>().expect_err("empty").to_string(),
        "".parse::<Eta>().expect_err("empty").to_string(),
        "".parse::<Parametrisation>()
            .expect_err("empty")
            .to_string(),
        "".parse::<Weight>().expect_err("empty").to_string(),
    ];
    let what = [
        "schedule",
        "relation",
        "diagonal",
        "eta",
        "parametrisation",
        "weight",
    ];
    for (message, what) in messages.iter().zip(what) {
        assert!(
            message.starts_with(&format!("{what} must be one of ")),
            "{message}"
        );
    }
}
