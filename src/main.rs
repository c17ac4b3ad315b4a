//! The command line of `sadm`: what it accepts, and which function answers.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod axis;
mod commands;
mod failure;
mod feature_space;
mod files;
mod fresh_noise;
mod image_grid;
mod interrupt;
mod names;
mod npz;
mod numbers;
mod place;
mod progress;
mod recorder;
mod room;
mod short;
mod tensorboard;
mod tensors;
mod threads;

use commands::{
    ablate, evaluate, network, oracle, report, sample, sweep, theory, train, verify, weights,
};
use sadm::environment;

const EXAMPLE: &str = "\
Examples:
  sadm train --preset digits --out runs/digits
  sadm sample --run runs/digits --count 16 --class 7 --out sevens.png
  sadm report runs/digits
  sadm evaluate --run runs/digits --reference digits --features encoder
  sadm verify --cases 100
  sadm oracle list
  sadm theory check";

/// Structure-guided adversarial training of diffusion models, with its arithmetic checked
///
/// `train` and `sample` run the training system; `evaluate` says how good samples are; `verify` holds every quantity of it against the exact f64
/// reference; `oracle` gives the reference's numbers to other programs; `theory` runs the theorems and errata.
#[derive(Debug, Parser)]
#[command(name = "sadm", version, after_help = EXAMPLE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a model, or continue a run
    Train(train::Args),
    /// Draw images from a run
    Sample(sample::Args),
    /// Write what runs did as one HTML file
    Report(report::Args),
    /// Measure samplers: quality per evaluation, orders of convergence
    Sweep(sweep::Args),
    /// Train with and without structure, over several seeds, and compare (SADM Table 5)
    Ablate(ablate::Args),
    /// Say how far samples are from the data
    Evaluate(Box<evaluate::Args>),
    /// Say what a file of weights is, and convert it
    Weights(weights::Args),
    /// Hold the training system against the f64 reference
    Verify(verify::Args),
    /// Compute a quantity exactly, for other implementations
    Oracle(oracle::Args),
    /// Ask a network of published weights for its tensors, its output and its gradients
    Network(network::Args),
    /// Run the theorems, bounds and errata that the book is about
    Theory(theory::Args),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    failure::exit_code(environment::in_pool(|| match command {
        Command::Train(args) => train::run(&args),
        Command::Sample(args) => sample::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Ablate(args) => ablate::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Weights(args) => weights::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Oracle(args) => oracle::run(&args),
        Command::Network(args) => network::run(&args),
        Command::Theory(args) => theory::run(&args),
    }))
}
