//! The crate rdkafka, for tests. Its librdkafka is linked by this crate, where it is built by it: hence no test uses rdkafka itself.

pub use rdkafka::*;

#[cfg(test)]
mod tests {
    use rdkafka::config::ClientConfig;

    /// As of the `configure` that config.h stands for, without OpenSSL and Cyrus SASL.
    #[test]
    fn librdkafka_has_what_it_has_where_it_builds_itself() {
        let config = ClientConfig::new().create_native_config().expect("a configuration");
        let features = config.get("builtin.features").expect("a setting of librdkafka's");
        assert_eq!(features, "gzip,snappy,sasl,regex,lz4,sasl_plain,plugins,zstd");
    }
}
