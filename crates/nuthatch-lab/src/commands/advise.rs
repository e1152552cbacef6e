//! `nuthatch-lab advise`: which policy and which size a trace asks for.

use super::input::{CellArguments, ColumnArguments, source};
use super::{JsonArguments, open};
use anyhow::{Context, bail};
use nuthatch_lab::advice::{self, Advice, Question, Recommendation};
use nuthatch_lab::grid::is_clairvoyant;
use nuthatch_lab::output::{Align, Table};
use nuthatch_lab::plot::Plot;
use nuthatch_lab::progress;
use nuthatch_lab::shards::{Sample, SampleBounds, Sampler};
use nuthatch_lab::simulate::Bound;
use nuthatch_lab::sizes::CacheSize;
use nuthatch_lab::subject::SubjectList;
use nuthatch_lab::svg::{Axis, Curve, LineChart, Point};
use nuthatch_lab::trace::Source;
use std::path::PathBuf;
use std::process::ExitCode;
use std::slice;

/// More lines in one plot are not told apart.
const MOST_CURVES: usize = 8;
/// Requests that a sample may hold: with the miniatures drawn from them, some 400 MB.
const MOST_REQUESTS: usize = 1 << 22;
/// Fewer keys say little about the others.
const FEWEST_KEYS: usize = 1 << 12;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long, value_name = "TRACE", value_parser = source, help = Source::naming())]
    trace: Source,
    #[command(flatten)]
    columns: ColumnArguments,
    /// Policies to choose from, at most eight
    #[arg(
        long,
        default_value = "default,lru,clock,s3_fifo,arc,lirs",
        value_name = "POLICY,.."
    )]
    policies: SubjectList,
    #[command(flatten)]
    cells: CellArguments,
    /// Capacities to choose from: percentages of the trace's unique keys (or of their bytes, with
    /// caches bounded by bytes), or whole numbers
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0.5%,1%,2%,4%,8%,16%,32%,64%",
        value_name = "SIZE,.."
    )]
    sizes: Vec<CacheSize>,
    /// Keys to keep at most, or twice as many if these are all, of which as many are simulated as it
    /// takes to err by less than a point: more of them take longer and err less
    #[arg(long, default_value = "131072", value_parser = sampled_keys, value_name = "KEYS")]
    sample: usize,
    /// Also draw the curves into a file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    json: JsonArguments,
}

fn sampled_keys(text: &str) -> Result<usize, &'static str> {
    match text.parse() {
        Ok(keys) if (1000..=10_000_000).contains(&keys) => Ok(keys),
        _ => Err("it is a whole number from 1000 to 10000000"),
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.policies.len() > MOST_CURVES {
        bail!(
            "{} policies are too many for one plot: name at most {MOST_CURVES}; simulate compares more",
            arguments.policies.len()
        );
    }
    if arguments
        .policies
        .iter()
        .all(|each| is_clairvoyant(&each.to_string()))
    {
        bail!("belady knows the future and cannot be recommended: name another policy, too");
    }
    arguments.columns.check(slice::from_ref(&arguments.trace))?;
    let presentation = arguments.json.open()?;
    let svg = arguments.svg.as_deref().map(open).transpose()?;
    let sample = sample(arguments)?;
    let question = Question {
        subjects: arguments.policies.to_vec(),
        sizes: arguments.sizes.clone(),
        bound: arguments.cells.bound(),
        threads: arguments.cells.threads(),
    };
    let name = arguments.trace.name();
    let about = about(&name, &sample);
    let advice = question.answer(&name, sample);
    let Some(recommendation) = &advice.recommendation else {
        bail!("{name} is too small for every size: give larger --sizes");
    };
    for size in &advice.too_small {
        eprintln!("{name}: {size} is less than one entry of the sample, and left out");
    }
    if let Some(svg) = svg {
        let written = svg.write_text(&picture(&name, &advice, question.bound));
        written.with_context(|| format!("cannot write {}", svg.path().display()))?;
    }
    let text = format!(
        "{about}\n{}\n{}\n{}",
        table(&advice, question.bound),
        plot(&advice, question.bound),
        sentence(recommendation, question.bound)
    );
    presentation.give(text, &advice.points)
}

/// What was asked for, and how much of it was looked at.
fn about(name: &str, sample: &Sample) -> String {
    let covered = sample.covered();
    let mut text = format!(
        "{name}: {} requests for {}{:.0} keys",
        sample.seen(),
        if sample.is_whole() { "" } else { "about " },
        covered.keys
    );
    if covered.requests < sample.seen() {
        text += &format!(
            "; only the first {} requests are looked at, as more do not fit the sample",
            covered.requests
        );
    }
    text
}

/// A line for each policy and a column for each size.
fn table(advice: &Advice, bound: Bound) -> Table {
    let sizes = sizes(advice);
    let headings = sizes.iter().map(|point| {
        (
            format!("{} ({:.1} %)", point.size, point.size_pct),
            Align::Right,
        )
    });
    let first = format!("miss ratio % by {}", bound.unit());
    let mut table = Table::new([(first, Align::Left)].into_iter().chain(headings));
    for policy in policies(advice) {
        let ratios = sizes.iter().map(|size| {
            let column = || advice.points.iter().filter(|point| point.size == size.size);
            let candidates = column().filter(|point| !is_clairvoyant(&point.policy));
            let best = candidates.map(|point| point.miss_ratio).fold(1.0, f64::min);
            let point = column().find(|point| point.policy == policy);
            point.map_or_else(String::new, |point| {
                let star = point.miss_ratio <= best && !is_clairvoyant(policy);
                let star = if star { "*" } else { " " };
                format!(
                    "{:.1} ±{:.1}{star}",
                    100.0 * point.miss_ratio,
                    point.error_points
                )
            })
        });
        table.row([policy.to_owned()].into_iter().chain(ratios));
    }
    table
}

/// A point of each size.
fn sizes(advice: &Advice) -> Vec<&advice::Point> {
    let mut sizes: Vec<&advice::Point> = advice.points.iter().collect();
    sizes.dedup_by_key(|point| point.size);
    sizes
}

/// The policies in the order that they were asked for.
fn policies(advice: &Advice) -> Vec<&str> {
    let first = advice.points[0].size;
    let of_first = advice.points.iter().filter(|point| point.size == first);
    of_first.map(|point| point.policy.as_str()).collect()
}

fn curve<'a>(advice: &'a Advice, policy: &'a str) -> impl Iterator<Item = &'a advice::Point> {
    advice
        .points
        .iter()
        .filter(move |point| point.policy == policy)
}

fn plot(advice: &Advice, bound: Bound) -> Plot {
    let curves = policies(advice).into_iter().map(|policy| {
        let points = curve(advice, policy).map(|point| (point.size as f64, point.miss_ratio));
        (policy.to_owned(), points.collect())
    });
    Plot {
        y_name: "miss ratio %".to_owned(),
        x_name: bound.unit().to_owned(),
        curves: curves.collect(),
    }
}

fn picture(name: &str, advice: &Advice, bound: Bound) -> String {
    let curves = policies(advice).into_iter().map(|policy| Curve {
        name: policy.to_owned(),
        points: curve(advice, policy)
            .map(|point| {
                let percent = 100.0 * point.miss_ratio;
                Point {
                    x: point.size as f64,
                    y: percent,
                    low: (percent - point.error_points).max(0.0),
                    high: (percent + point.error_points).min(100.0),
                }
            })
            .collect(),
    });
    let chart = LineChart {
        title: name.to_owned(),
        x: Axis::log(format!("size of the cache ({})", bound.unit())),
        y: Axis::linear("requests that miss (%)"),
        curves: curves.collect(),
    };
    chart.to_svg()
}

/// What to take, with the figures.
fn sentence(recommendation: &Recommendation, bound: Bound) -> String {
    let at = &recommendation.at;
    let mut text = format!(
        "Take {} at {} {} ({:.1} %): {:.1} % ± {:.1} of requests miss",
        recommendation.policy,
        at.size,
        bound.unit(),
        at.size_pct,
        100.0 * at.miss_ratio,
        at.error_points
    );
    if bound == Bound::Bytes {
        text += &format!(", and {:.1} % of bytes", 100.0 * at.byte_miss_ratio);
    }
    text += &match recommendation.doubling_saves_points {
        Some(points) if points < 0.05 => "; twice the size would save nothing.\n".to_owned(),
        Some(points) => format!("; twice the size would save {points:.1} points.\n"),
        None => {
            "; each doubling up to there pays, and larger ones were not looked at.\n".to_owned()
        }
    };
    text += &format!(
        "Over all sizes {} misses {:.1} %",
        recommendation.policy,
        100.0 * recommendation.mean
    );
    text += &match &recommendation.ahead {
        Some((best, points)) => format!(
            ", {points:.2} points more than {best}, which is within the error of {:.2} or too little \
             to notice.\n",
            recommendation.lead_error_points
        ),
        None => ", less than any other.\n".to_owned(),
    };
    text + "Lower is better; * marks the fewest misses of a column; ± is the error by sampling.\n"
}

fn sample(arguments: &Arguments) -> anyhow::Result<Sample> {
    let mut sampler = Sampler::new(SampleBounds {
        keys: arguments.sample,
        requests: MOST_REQUESTS,
        fewest_keys: FEWEST_KEYS.min(arguments.sample),
    });
    let bar = progress::count(&arguments.trace.name());
    bar.set_message("requests");
    let streamed = arguments.columns.stream(&arguments.trace, |block| {
        sampler.take(block);
        bar.inc(block.len() as u64);
    });
    bar.finish_and_clear();
    streamed?;
    Ok(sampler.finish())
}
