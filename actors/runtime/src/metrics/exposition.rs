//! Metrics as text, for whoever scrapes them: Prometheus' own format and OpenMetrics 1.0.

use std::borrow::Cow;
use std::fmt::{Display, Write};

use super::Family;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// version=0.0.4
    Prometheus,
    /// version=1.0.0
    OpenMetrics,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What of an `Accept` header is wanted most; Prometheus' own where nothing is said of either.
    pub fn accepted(accept: &str) -> Format {
        let mut wanted = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (1.0_f64, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            let of = match kind.to_ascii_lowercase().as_str() {
                "application/openmetrics-text" if matches!(version, None | Some("1.0.0")) => {
                    &mut wanted.0
                }
                "text/plain" | "text/*" | "*/*" => &mut wanted.1,
                _ => continue,
            };
            *of = quality.max(*of);
        }
        let (open_metrics, plain): (f64, f64) = wanted;
        match open_metrics > 0.0 && open_metrics >= plain {
            true => Format::OpenMetrics,
            false => Format::Prometheus,
        }
    }
}

/// What is told, as it grows.
pub struct Exposition {
    format: Format,
    text: String,
}

impl Exposition {
    pub fn new(format: Format) -> Exposition {
        Exposition { format, text: String::new() }
    }

    /// Begins a family; its samples follow before the next one begins.
    pub fn family(&mut self, family: &Family) {
        let Family { kind, unit, help, .. } = family;
        let name = match self.format {
            Format::Prometheus => family.name,
            Format::OpenMetrics => family.bare_name(),
        };
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        let has_unit = name.strip_suffix(unit).is_some_and(|before| before.ends_with('_'));
        if self.format == Format::OpenMetrics && has_unit {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
    }

    /// A sample of the family that was begun last; `name` is the family's with what its type adds.
    pub fn sample(
        &mut self,
        name: impl Display,
        labels: &[(&str, impl AsRef<str>)],
        value: impl Display,
    ) {
        let _ = write!(self.text, "{name}");
        for (at, (label, value)) in labels.iter().enumerate() {
            let opening = if at == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{opening}{label}=\"{}\"", escaped(value.as_ref()));
        }
        let closing = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{closing} {value}");
    }

    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// A label's value: names of kinds, messages, numbers and directories are also users'.
fn escaped(value: &str) -> Cow<'_, str> {
    match value.contains(['\\', '"', '\n']) {
        true => value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into(),
        false => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_that_is_wanted_most_is_given() {
        let open = [
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "application/openmetrics-text;version=\"1.0.0\";q=0.5,text/plain;q=0.3,*/*;q=0.1",
            "text/plain, Application/OpenMetrics-Text",
        ];
        for accept in open {
            assert_eq!(Format::accepted(accept), Format::OpenMetrics, "{accept}");
        }
        let plain = [
            "",
            "*/*",
            "text/html,*/*;q=0.8",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0.2,text/plain;q=0.3",
            "application/openmetrics-text;q=nonsense",
        ];
        for accept in plain {
            assert_eq!(Format::accepted(accept), Format::Prometheus, "{accept}");
        }
    }

    #[test]
    fn both_formats_have_their_own_heads_and_ends() {
        let family = Family {
            name: "bites_seconds_total",
            kind: "counter",
            labels: &["who"],
            unit: "seconds",
            help: "Time.",
        };
        let told = |format| {
            let mut text = Exposition::new(format);
            text.family(&family);
            text.sample(family.name, &[("who", "a\\b\"c\nd")], 1.5);
            text.sample(family.name, &[] as &[(&str, &str)], 2);
            text.finish()
        };
        let samples = "bites_seconds_total{who=\"a\\\\b\\\"c\\nd\"} 1.5\nbites_seconds_total 2\n";
        assert_eq!(
            told(Format::Prometheus),
            format!(
                "# HELP bites_seconds_total Time.\n# TYPE bites_seconds_total counter\n{samples}"
            )
        );
        assert_eq!(
            told(Format::OpenMetrics),
            format!(
                "# HELP bites_seconds Time.\n# TYPE bites_seconds counter\n\
                 # UNIT bites_seconds seconds\n{samples}# EOF\n"
            )
        );
    }
}
