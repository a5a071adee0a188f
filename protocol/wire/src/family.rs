//! What the generated code calls to declare the API keys and the records of each log.

/// `Name = key: Request, Response; versions; unstable; private; [listeners]; first flexible version of request, response;`
macro_rules! api_keys {
    ($($name:ident = $key:literal: $request:ident, $response:ident; $min:literal..=$max:literal; $unstable:literal;
       $private:literal; [$($listener:ident),*]; $request_flexible:literal, $response_flexible:literal;)*) => {
        /// An RPC.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $key,)*
        }

        impl ApiKey {
            /// All of them, in the order of their codes.
            pub const ALL: &'static [ApiKey] = &[$(ApiKey::$name),*];

            pub(crate) fn info(self) -> ApiInfo {
                match self {
                    $(ApiKey::$name => ApiInfo {
                        name: stringify!($name),
                        versions: VersionRange::new($min, $max),
                        unstable: $unstable,
                        private: $private,
                        listeners: &[$(ListenerKind::$listener),*],
                        request_flexible: $request_flexible,
                        response_flexible: $response_flexible,
                    },)*
                }
            }
        }

        $(
            impl Request for $request {
                const KEY: ApiKey = ApiKey::$name;
                type Response = $response;
            }

            impl Response for $response {
                const KEY: ApiKey = ApiKey::$name;
            }
        )*
    };
}

/// The records of one log as an enum: `framed` ones of a log whose records have no key, or the `key`s or `value`s of a coordinator's log.
macro_rules! record_family {
    (framed $name:ident $body:tt) => {
        record_family! { $name $body }

        impl $name {
            /// Reads a framed record, and the version it was written in.
            pub fn decode(bytes: Bytes) -> Result<(Self, i16), DecodeError> {
                crate::records::decode_framed(bytes)
            }

            pub fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
                crate::records::encode_framed(self, version)
            }
        }
    };
    (key $name:ident $body:tt) => {
        record_family! { $name $body }

        impl $name {
            /// Reads the key of a record. A type that is not known is an error of its own, since such a record can be passed over.
            pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
                crate::records::decode_key(bytes)
            }

            pub fn encode(&self) -> Result<Bytes, EncodeError> {
                crate::records::encode_key(self)
            }
        }
    };
    (value $name:ident $body:tt) => {
        record_family! { $name $body }

        impl $name {
            /// Reads the value of a record whose key is of this type, and the version it was written in.
            pub fn decode(record_type: i16, bytes: Bytes) -> Result<(Self, i16), DecodeError> {
                crate::records::decode_value(record_type, bytes)
            }

            pub fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
                crate::records::encode_value(self, version)
            }
        }
    };
    ($name:ident { $($code:literal => $variant:ident($ty:ident),)* }) => {
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name {
            $($variant($ty),)*
        }

        impl $name {
            pub fn record_type(&self) -> i16 {
                match self {
                    $($name::$variant(_) => $code,)*
                }
            }

            /// The name of the record's schema.
            pub fn name(&self) -> &'static str {
                match self {
                    $($name::$variant(_) => <$ty as Message>::NAME,)*
                }
            }

            /// The versions in which the record can be written.
            pub fn versions(&self) -> VersionRange {
                match self {
                    $($name::$variant(_) => <$ty as Message>::VERSIONS,)*
                }
            }
        }

        impl crate::json::Json for $name {
            fn json(&self, out: &mut String, version: i16) {
                match self {
                    $($name::$variant(record) => record.json(out, version),)*
                }
            }
        }

        impl crate::records::Family for $name {
            fn record_type(&self) -> i16 {
                $name::record_type(self)
            }

            fn read(record_type: i16, r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
                match record_type {
                    $($code => <$ty as Message>::decode(r, version).map($name::$variant),)*
                    other => Err(DecodeError::UnknownRecordType(other.into())),
                }
            }

            fn write(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
                match self {
                    $($name::$variant(record) => Message::encode(record, w, version),)*
                }
            }
        }

        $(
            impl From<$ty> for $name {
                fn from(record: $ty) -> Self {
                    $name::$variant(record)
                }
            }
        )*
    };
}
