//! Values of settings: read from text, checked, written back as Kafka writes them.

use core::net::IpAddr;
use std::collections::BTreeSet;
use std::fmt;

use super::error::SettingError;
use super::setting::{Check, Setting, Type};

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Boolean(bool),
    Short(i16),
    Int(i32),
    Long(i64),
    Double(f64),
    /// A string, the name of a class, or a password.
    Text(String),
    List(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Boolean(value) => write!(f, "{value}"),
            Value::Short(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Long(value) => write!(f, "{value}"),
            Value::Double(value) => f.write_str(&java_double(*value)),
            Value::Text(value) => f.write_str(value),
            Value::List(values) => f.write_str(&values.join(",")),
        }
    }
}

/// As Java prints a double: `0.5`, `1.0E10`, `1.7976931348623157E308`.
fn java_double(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || !value.is_finite() || (1e-3..1e7).contains(&magnitude) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

/// Reads `ADDRESS:COUNT` pairs, separated by commas; an IPv6 address may stand in brackets.
///
/// # Errors
/// What is expected, where something else is there.
pub fn address_counts(text: &str) -> Result<Vec<(IpAddr, usize)>, &'static str> {
    let read = |pair: &str| {
        let (address, count) = pair.rsplit_once(':').ok_or("ADDRESS:COUNT pairs are expected")?;
        let address = address.trim().trim_start_matches('[').trim_end_matches(']');
        let address: IpAddr = address.parse().map_err(|_| "each address must be an IP address")?;
        let count: i32 = count.trim().parse().map_err(|_| "each count must be a whole number")?;
        let count = usize::try_from(count).map_err(|_| "each count must be 0 or more")?;
        Ok((address.to_canonical(), count))
    };
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(read).collect()
}

impl Setting {
    /// Reads and checks a value of this setting. Whether the build honours it is not asked here.
    pub fn parse(&self, text: &str) -> Result<Value, SettingError> {
        let value = self.parse_type(text.trim()).map_err(|reason| self.invalid(text, reason))?;
        self.check(&value)?;
        Ok(value)
    }

    fn parse_type(&self, text: &str) -> Result<Value, String> {
        let not_a_number = || format!("Not a number of type {}", self.kind.name());
        match self.kind {
            Type::Boolean if text.eq_ignore_ascii_case("true") => Ok(Value::Boolean(true)),
            Type::Boolean if text.eq_ignore_ascii_case("false") => Ok(Value::Boolean(false)),
            Type::Boolean => Err("Expected value to be either true or false".to_owned()),
            Type::Short => text.parse().map(Value::Short).map_err(|_| not_a_number()),
            Type::Int => text.parse().map(Value::Int).map_err(|_| not_a_number()),
            Type::Long => text.parse().map(Value::Long).map_err(|_| not_a_number()),
            Type::Double => text.parse().map(Value::Double).map_err(|_| not_a_number()),
            Type::String | Type::Class | Type::Password => Ok(Value::Text(text.to_owned())),
            Type::List if text.is_empty() => Ok(Value::List(Vec::new())),
            Type::List => {
                Ok(Value::List(text.split(',').map(|part| part.trim().to_owned()).collect()))
            }
        }
    }

    fn check(&self, value: &Value) -> Result<(), SettingError> {
        match value {
            Value::List(elements) => self.check_list(elements),
            Value::Text(text) => self.check_text(text),
            Value::Double(number) => self.check_double(*number),
            Value::Short(number) => self.check_integer(i64::from(*number)),
            Value::Int(number) => self.check_integer(i64::from(*number)),
            Value::Long(number) => self.check_integer(*number),
            Value::Boolean(_) => Ok(()),
        }
    }

    fn check_integer(&self, number: i64) -> Result<(), SettingError> {
        let refused = |reason| Err(self.invalid(&number.to_string(), reason));
        match self.check {
            Check::AtLeast(min) | Check::Between(min, _) if number < min => {
                refused(format!("Value must be at least {min}"))
            }
            Check::Between(_, max) if number > max => {
                refused(format!("Value must be no more than {max}"))
            }
            Check::BetweenOr(min, max, or) if number != or && !(min..=max).contains(&number) => {
                refused(format!("Value must be between {min} and {max} or equal to {or}"))
            }
            _ => Ok(()),
        }
    }

    fn check_double(&self, number: f64) -> Result<(), SettingError> {
        let refused = |reason| Err(self.invalid(&java_double(number), reason));
        match self.check {
            Check::Fraction(min, _) if number.is_nan() || number < min => {
                refused(format!("Value must be at least {min}"))
            }
            Check::Fraction(_, max) if number > max => {
                refused(format!("Value must be no more than {max}"))
            }
            _ => Ok(()),
        }
    }

    fn check_text(&self, text: &str) -> Result<(), SettingError> {
        let refused = |reason| Err(self.invalid(text, reason));
        match self.check {
            Check::OneOf(allowed) if !allowed.contains(&text) => {
                refused(format!("String must be one of: {}", allowed.join(", ")))
            }
            Check::OneOfIgnoreCase(allowed)
                if !allowed.iter().any(|name| name.eq_ignore_ascii_case(text)) =>
            {
                refused(format!("String must be one of (case insensitive): {}", allowed.join(", ")))
            }
            Check::AddressCounts => {
                address_counts(text).map(drop).map_err(|reason| self.invalid(text, reason.to_owned()))
            }
            Check::NotEmpty if text.is_empty() => refused("String must be non-empty".to_owned()),
            Check::OffsetReset if !is_offset_reset(text) => refused(
                "must be latest, earliest or by_duration:PnDTnHnMn.nS with a duration that is not negative"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    fn check_list(&self, elements: &[String]) -> Result<(), SettingError> {
        if repeats(elements) {
            return Err(SettingError::Duplicated { name: self.name });
        }
        if elements.iter().any(String::is_empty) {
            return Err(SettingError::EmptyElement { name: self.name });
        }
        match self.check {
            Check::OneOf(_) => elements.iter().try_for_each(|element| self.check_text(element)),
            Check::ThrottledReplicas if !is_throttled_replicas(elements) => Err(self.invalid(
                &elements.join(","),
                format!(
                    "{} must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                    self.name
                ),
            )),
            _ => Ok(()),
        }
    }

    fn invalid(&self, value: &str, reason: String) -> SettingError {
        let value = if self.is_sensitive() { "[hidden]".to_owned() } else { shortened(value) };
        SettingError::Invalid { name: self.name.to_owned(), value, reason }
    }
}

/// Whether an element is there twice: in time that grows little more than the list, which may be 16,000 elements in each of thousands of topics.
pub(super) fn repeats<T: Ord>(elements: &[T]) -> bool {
    let mut seen = BTreeSet::new();
    !elements.iter().all(|element| seen.insert(element))
}

/// A value in a message is cut: it may be 32 KiB long.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn is_throttled_replicas(elements: &[String]) -> bool {
    let is_id = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_pair = |element: &String| {
        element.split_once(':').is_some_and(|(partition, broker)| is_id(partition) && is_id(broker))
    };
    matches!(elements, [only] if only == "*") || elements.iter().all(is_pair)
}

fn is_offset_reset(text: &str) -> bool {
    match text.strip_prefix("by_duration:") {
        Some(duration) => is_iso_duration(duration),
        None => text == "latest" || text == "earliest",
    }
}

/// `PnDTnHnMn.nS`, with at least one part and only seconds having a fraction.
fn is_iso_duration(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('P') else { return false };
    let (days, time) = match rest.split_once('T') {
        Some((_, "")) => return false,
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    !rest.is_empty() && are_duration_parts(days, "D") && are_duration_parts(time, "HMS")
}

fn are_duration_parts(mut text: &str, units: &str) -> bool {
    let mut left = units;
    while !text.is_empty() {
        let Some(end) = text.find(|c: char| c.is_ascii_uppercase()) else { return false };
        let unit = &text[end..=end];
        let Some(place) = left.find(unit) else { return false };
        let (whole, fraction) = match text[..end].split_once('.') {
            Some((whole, fraction)) if unit == "S" => (whole, fraction),
            Some(_) => return false,
            None => (&text[..end], "0"),
        };
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || whole.len() > 9 {
            return false;
        }
        left = &left[place + 1..];
        text = &text[end + 1..];
    }
    true
}
