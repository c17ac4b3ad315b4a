//! The page: one file that needs nothing else.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use sadm_gpu::config::Config;

use super::chart::{COLOURS, Chart};
use super::differences::differences;
use super::relations::Relations;
use super::run::{Run, flattened};
use super::{curves, heat, summary};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// The page may show what it holds and ask nobody.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// Everything about some runs; `relations` has an entry for each.
pub fn page(runs: &[Run], relations: &[Result<Relations, String>]) -> String {
    let title = runs
        .iter()
        .map(|run| run.name.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    let title = format!("{}: {title}", if runs.len() == 1 { "Run" } else { "Runs" });
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p.quiet { "Written by sadm " (env!("CARGO_PKG_VERSION")) ". Point at a curve to read its values." }
                }
                main {
                    (problems(runs))
                    (numbers(runs))
                    (configurations(runs))
                    (convergence(runs))
                    section {
                        h2 { "Training" }
                        (legend(runs))
                        (charts(&curves::over_steps(runs)))
                    }
                    (samples(runs))
                    (affinities(runs, relations))
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn problems(runs: &[Run]) -> Markup {
    let any = runs.iter().any(|run| !run.problems.is_empty());
    html! {
        @if any {
            section.problems {
                h2 { "What could not be read" }
                ul {
                    @for run in runs {
                        @for problem in &run.problems { li { b { (run.name) } ": " (problem) } }
                    }
                }
            }
        }
    }
}

/// A row of names of runs.
fn heads(runs: &[Run]) -> Markup {
    html! { @for (index, run) in runs.iter().enumerate() { th scope="col" { (swatch(index)) (run.name) } } }
}

fn swatch(index: usize) -> Markup {
    html! { span class=(format!("swatch c{} d{}", index % COLOURS, index / COLOURS % 3)) {} }
}

fn numbers(runs: &[Run]) -> Markup {
    html! {
        section {
            h2 { "Summary" }
            div.scroll {
                table {
                    thead { tr { th {} (heads(runs)) } }
                    tbody {
                        @for (name, entry) in summary::ROWS {
                            tr { th scope="row" { (name) } @for run in runs { td { (entry(run)) } } }
                        }
                    }
                }
            }
            p.quiet { "Time is that of the training steps, without sampling and saving; a logged step stands for those since the one before it." }
        }
    }
}

fn configurations(runs: &[Run]) -> Markup {
    let defaults = flattened(&Config::default().to_toml());
    let mut tables: Vec<_> = runs.iter().map(|run| &run.keys).collect();
    if runs.len() == 1 {
        tables.insert(0, &defaults);
    }
    let rows = differences(&tables);
    html! {
        section {
            h2 { "Configuration" }
            @if runs.len() == 1 { p { "Keys that differ from the defaults." } }
            @else { p { "Keys in which the runs differ." } }
            @if rows.is_empty() { p.quiet { "None." } }
            @else {
                div.scroll {
                    table {
                        thead { tr { th { "key" } @if runs.len() == 1 { th scope="col" { "default" } } (heads(runs)) } }
                        tbody {
                            @for (key, values) in &rows {
                                tr {
                                    th scope="row" { code { (key) } }
                                    @for value in values { td { code { (value.unwrap_or("—")) } } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn convergence(runs: &[Run]) -> Markup {
    let evaluated = !curves::evaluated(runs).is_empty();
    let without: Vec<&str> = runs
        .iter()
        .filter(|run| run.evaluation.is_none())
        .map(|run| run.name.as_str())
        .collect();
    let tables: Vec<_> = runs.iter().map(|run| &run.keys).collect();
    let comparable = differences(&tables)
        .iter()
        .all(|(key, _)| !key.starts_with("objective.") && !key.starts_with("data."));
    html! {
        section {
            h2 { "Convergence" }
            p.quiet { "As in SADM, Fig. 6." }
            @if !evaluated {
                p { "No run here has evaluation numbers (sadm evaluate --run RUN --reference … writes them), so no Fréchet distance is drawn: the loss is all there is to compare, and a lower loss is not by itself a better model." }
            } @else if !without.is_empty() {
                p { "Without evaluation numbers: " (without.join(", ")) "." }
            }
            @if !comparable {
                p.warning { "These runs differ in their data or objective: their denoising losses are different quantities and cannot be compared." }
            }
            (legend(runs))
            (charts(&curves::convergence(runs)))
        }
    }
}

fn legend(runs: &[Run]) -> Markup {
    html! {
        @if runs.len() > 1 {
            div.legend {
                @for (index, run) in runs.iter().enumerate() {
                    button type="button" aria-pressed="true" data-name=(run.name) { (swatch(index)) (run.name) }
                }
            }
        }
    }
}

fn charts(charts: &[Chart]) -> Markup {
    let figures: Vec<Markup> = charts.iter().filter_map(Chart::figure).collect();
    html! {
        @if figures.is_empty() { p.quiet { "Nothing was logged yet." } }
        @else { div.charts { @for figure in &figures { (figure) } } }
    }
}

fn samples(runs: &[Run]) -> Markup {
    html! {
        section {
            h2 { "Samples over training" }
            @for run in runs {
                @if runs.len() > 1 { h3 { (run.name) } }
                @if run.samples.is_empty() { p.quiet { "No sample grid was drawn yet." } }
                @if run.omitted > 0 { p.quiet { (run.omitted) " of " (run.omitted + run.samples.len()) " grids are left out, evenly." } }
                div.row {
                    @for (step, png) in &run.samples {
                        figure.samples {
                            img src=(super::data_uri::data_uri(png)) alt=(format!("samples after step {step}"));
                            figcaption { "step " (step) }
                        }
                    }
                }
            }
        }
    }
}

fn affinities(runs: &[Run], relations: &[Result<Relations, String>]) -> Markup {
    html! {
        section {
            h2 { "Relations within a batch" }
            p { "As in SADM, Fig. 5: how alike the features of denoised images are, pair by pair, beside the relations of the real images that they came from. Every player answers the same noised images, with their class, once." }
            @for (run, relations) in runs.iter().zip(relations) {
                @if runs.len() > 1 { h3 { (run.name) } }
                @match relations {
                    Err(reason) => p.missing { (reason) },
                    Ok(relations) => {
                        p.quiet {
                            "Cosine of Ψ (as the encoder's phase left it), averaged parameters, "
                            (relations.labels.len()) @if relations.held_out { " held-out" } @else { " training" }
                            " images of the classes " (classes(&relations.labels, run))
                            ". The base has had fewer steps than what follows: this shows what changed, not what the structural loss alone did."
                        }
                        (heat::figures(relations))
                    }
                }
            }
        }
    }
}

/// ``0 `cat`, 1 `dog` ``, or `0, 1` where classes have no names.
fn classes(labels: &[u32], run: &Run) -> String {
    let known = run.state.as_ref().and_then(|state| state.classes.as_ref());
    let mut labels = labels.to_vec();
    labels.dedup();
    labels
        .iter()
        .map(|label| known.map_or_else(|| label.to_string(), |known| known.label(*label)))
        .collect::<Vec<_>>()
        .join(", ")
}
