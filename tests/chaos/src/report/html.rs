//! One act on one page: lanes over time, in a file that needs nothing else.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::act::Act;
use crate::clients::gate_name;
use crate::fault::SITES;
use crate::record::{Mark, Noted, Seen};
use crate::world::World;

const PIXELS_PER_S: f64 = 14.0;
const LEFT: f64 = 130.0;
const LANE: f64 = 16.0;
const BUCKET_S: f64 = 0.5;
const COLOURS: [&str; SITES.len()] = ["#2a6fdb", "#d9822b", "#3a9d5d"];

const STYLE: &str = "body{font:14px system-ui,sans-serif;margin:1.5em;color:#222}svg text{font:11px system-ui,sans-serif}\
.scroll{overflow-x:auto;border:1px solid #ccc}.bad{color:#b00020;white-space:pre-wrap}table{border-collapse:collapse}\
td{padding:1px 10px 1px 0;vertical-align:top;font-size:12px}.num{text-align:right;font-variant-numeric:tabular-nums}";

/// Writes `act-N.html` into the report.
pub(crate) fn write(report: &Path, seed: u64, act: &Act) -> Result<()> {
    Ok(std::fs::write(report.join(format!("act-{}.html", act.number)), render(seed, act))?)
}

fn render(seed: u64, act: &Act) -> String {
    let setting = act.setting;
    let mut page = format!(
        "<!doctype html><meta charset=utf-8><title>Primacy chaos {seed}</title><style>{STYLE}</style>\
         <h1>seed {seed}, act {}</h1><p>{} ms between sites, durability {}, {} rounds; {}</p>",
        act.number,
        setting.rtt_ms,
        setting.durability,
        act.rounds.len(),
        if act.violations.is_empty() { "no violation" } else { "<b class=bad>violated</b>" }
    );
    // Writing to a string cannot fail.
    for violation in &act.violations {
        let evidence: String = violation.evidence.chars().take(3_000).collect();
        let _ = write!(page, "<p class=bad><b>{}</b> {}</p>", violation.checker, escape(&evidence));
    }
    let _ = write!(page, "<p>");
    for (site, colour) in SITES.iter().zip(COLOURS) {
        let _ = write!(page, "<span style='color:{colour}'>&#9632; {site}</span> ");
    }
    let _ =
        write!(page, "&mdash; point at anything to read it.</p><div class=scroll>{}</div>", timeline(act));
    let _ = write!(page, "<h2>What happened</h2><table>");
    for mark in &act.pages.marks {
        let lasted = mark.to.map_or(String::new(), |to| format!("{:.2} s", (to - mark.from).as_secs_f64()));
        let _ = write!(
            page,
            "<tr><td class=num>{:.2}<td class=num>{lasted}<td>{}<td>{}",
            seconds(act, mark.from),
            escape(&mark.kind),
            escape(&mark.text)
        );
    }
    page + "</table>"
}

/// The drawing: its height grows with what overlaps.
struct Drawing {
    body: String,
    y: f64,
}

impl Drawing {
    fn label(&mut self, text: &str) {
        let _ = write!(self.body, "<text x=4 y={:.0}>{}</text>", self.y + 12.0, escape(text));
    }

    fn bar(&mut self, from: f64, to: f64, colour: &str, title: &str) {
        let (x, width) = (x(from), ((to - from) * PIXELS_PER_S).max(2.0));
        let y = self.y + 2.0;
        let height = LANE - 4.0;
        let _ = write!(
            self.body,
            "<rect x={x:.1} y={y:.0} width={width:.1} height={height:.0} fill='{colour}'><title>{}</title></rect>",
            escape(title)
        );
    }

    fn next(&mut self) {
        self.y += LANE;
    }
}

fn timeline(act: &Act) -> String {
    let marks_end = act.pages.marks.iter().map(|mark| mark.to.unwrap_or(mark.from)).max();
    let end = seconds(act, marks_end.unwrap_or(act.began)) + 2.0;
    let mut drawing = Drawing { body: String::new(), y: 18.0 };
    faults(&mut drawing, act, end);
    leaders(&mut drawing, act, end);
    primaries(&mut drawing, act, end);
    writers(&mut drawing, act);
    let (width, height) = (x(end), drawing.y + 6.0);
    let mut grid = String::new();
    for tick in 0..=(end / 10.0) as u32 {
        let x = x(f64::from(tick) * 10.0);
        let _ = write!(
            grid,
            "<line x1={x:.0} x2={x:.0} y1=14 y2={height:.0} stroke='#eee'/><text x={x:.0} y=11>{} s</text>",
            tick * 10
        );
    }
    for at in act.violations.iter().filter_map(|violation| violation.at) {
        let x = x(seconds(act, at));
        let _ =
            write!(grid, "<line x1={x:.0} x2={x:.0} y1=0 y2={height:.0} stroke='#b00020' stroke-width=2 />");
    }
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width={width:.0} height={height:.0}>{grid}{}</svg>",
        drawing.body
    )
}

/// One lane a site, as many rows as faults overlap there; and one for operators.
fn faults(drawing: &mut Drawing, act: &Act, end: f64) {
    for site in (0..SITES.len()).map(Some).chain([None]) {
        let name = site.map_or("operators".to_owned(), |site| format!("faults {}", SITES[site]));
        let colour = site.map_or("#777", |site| COLOURS[site]);
        let mut rows: Vec<Vec<&Mark>> = Vec::new();
        for mark in act.pages.marks.iter().filter(|mark| mark.site == site && mark.kind != "round") {
            let free =
                |row: &Vec<&Mark>| row.last().is_none_or(|last| last.to.unwrap_or(last.from) < mark.from);
            match rows.iter_mut().find(|row| free(row)) {
                Some(row) => row.push(mark),
                None => rows.push(vec![mark]),
            }
        }
        drawing.label(&name);
        for row in &rows {
            for mark in row {
                let from = seconds(act, mark.from);
                let to = mark.to.map_or(from, |to| seconds(act, to)).min(end);
                drawing.bar(from, to, colour, &format!("{from:.2} s: {}", mark.text));
            }
            drawing.next();
        }
        if rows.is_empty() {
            drawing.next();
        }
    }
}

fn leaders(drawing: &mut Drawing, act: &Act, end: f64) {
    drawing.label("leader");
    for (index, led) in act.pages.led.iter().enumerate() {
        let to = act.pages.led.get(index + 1).map_or(end, |next| seconds(act, next.at));
        if let Some((id, site)) = &led.leader {
            let from = seconds(act, led.at);
            drawing.bar(from, to, colour_of(site), &format!("{from:.2} s: n{id} leads ({site})"));
        }
    }
    drawing.next();
}

/// As first seen by any watcher.
fn primaries(drawing: &mut Drawing, act: &Act, end: f64) {
    drawing.label("primary");
    let mut changes: BTreeMap<u64, (Instant, &str)> = BTreeMap::new();
    for line in &act.pages.watched {
        let Seen::Batch { events, .. } = &line.seen else { continue };
        for event in events {
            if let Noted::Primary { epoch, member } = event {
                let first = changes.entry(*epoch).or_insert((line.at, member));
                first.0 = first.0.min(line.at);
            }
        }
    }
    let first = act.pages.reads.first();
    let initial =
        first.and_then(|read| Some((read.answer.epoch, (read.answered, read.answer.member.as_deref()?))));
    if let Some((epoch, seen)) = initial {
        changes.entry(epoch).or_insert(seen);
    }
    let changes: Vec<_> = changes.into_iter().collect();
    for (index, (epoch, (at, member))) in changes.iter().enumerate() {
        let from = seconds(act, *at);
        let to = changes.get(index + 1).map_or(end, |(_, (next, _))| seconds(act, *next));
        let site = member.strip_suffix("-a").unwrap_or(member);
        drawing.bar(from, to, colour_of(site), &format!("{from:.2} s: {member} is primary, epoch {epoch}"));
    }
    drawing.next();
}

/// Acknowledgements over time: directly by each member, and by each gate.
fn writers(drawing: &mut Drawing, act: &Act) {
    let (direct, gated) = &act.ledgers;
    for (site, name) in SITES.iter().enumerate() {
        let acks = direct.acks().filter(|ack| ack.member == World::member(site)).map(|ack| ack.at);
        density(drawing, act, &format!("writers {name}"), COLOURS[site], acks);
    }
    for (site, name) in SITES.iter().enumerate() {
        let acks = gated.acks().filter(|ack| ack.member == gate_name(site)).map(|ack| ack.at);
        density(drawing, act, &format!("gate {name}"), COLOURS[site], acks);
    }
}

fn density(drawing: &mut Drawing, act: &Act, name: &str, colour: &str, acks: impl Iterator<Item = Instant>) {
    drawing.label(name);
    let mut buckets: BTreeMap<u64, u64> = BTreeMap::new();
    for at in acks {
        *buckets.entry((seconds(act, at) / BUCKET_S) as u64).or_default() += 1;
    }
    let most = buckets.values().copied().max().unwrap_or(1) as f64;
    for (bucket, count) in buckets {
        let from = bucket as f64 * BUCKET_S;
        let height = (count as f64 / most * (LANE - 2.0)).max(1.0);
        let y = drawing.y + LANE - height;
        let _ = write!(
            drawing.body,
            "<rect x={:.1} y={y:.1} width={:.1} height={height:.1} fill='{colour}'><title>{from:.1} s: {count} acknowledged</title></rect>",
            x(from),
            BUCKET_S * PIXELS_PER_S
        );
    }
    drawing.next();
}

fn colour_of(site: &str) -> &'static str {
    SITES.iter().position(|name| *name == site).map_or("#999", |site| COLOURS[site])
}

fn x(seconds: f64) -> f64 {
    LEFT + seconds * PIXELS_PER_S
}

fn seconds(act: &Act, at: Instant) -> f64 {
    at.saturating_duration_since(act.began).as_secs_f64()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
