use super::HostPort;
use crate::settings::{SettingError, Values};

const ENDPOINT: &str = "ottla.otel.endpoint";
/// Where OTLP takes traces, below the address of a collector.
const TRACES: &str = "/v1/traces";

/// Where traces of requests are sent, in OpenTelemetry's protocol over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryConfig {
    pub collector: HostPort,
    /// Of the collector, where it takes traces.
    pub path: String,
    /// The share of requests that are traced.
    pub share: f64,
}

impl TelemetryConfig {
    /// None where no collector is given.
    pub(super) fn read(values: &Values) -> Result<Option<TelemetryConfig>, SettingError> {
        let Some(text) = values.opt_text(ENDPOINT).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let refused = |reason: &str| SettingError::invalid(ENDPOINT, text, reason.to_owned());
        let Some(rest) = text.strip_prefix("http://") else {
            return Err(refused(
                "http://HOST:PORT is expected; https is not spoken, a collector on this machine may",
            ));
        };
        let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let collector = HostPort::parse(address).map_err(refused)?;
        if collector.host.is_empty() || collector.port == 0 {
            return Err(refused("a host and a port are expected"));
        }
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refused("its path has a character that none may have"));
        }
        let path = format!("{}{TRACES}", path.trim_end_matches('/'));
        Ok(Some(TelemetryConfig { collector, path, share: values.double("ottla.otel.share") }))
    }
}
