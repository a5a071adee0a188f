//! What a setting is: one row of the tables.

/// Kafka's types of settings, with the codes that DescribeConfigs uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Type {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

impl Type {
    pub fn code(self) -> i8 {
        self as i8
    }

    /// Kafka's name, as its messages use it.
    pub fn name(self) -> &'static str {
        match self {
            Type::Boolean => "BOOLEAN",
            Type::String => "STRING",
            Type::Int => "INT",
            Type::Short => "SHORT",
            Type::Long => "LONG",
            Type::Double => "DOUBLE",
            Type::List => "LIST",
            Type::Class => "CLASS",
            Type::Password => "PASSWORD",
        }
    }
}

/// Who may set it, and whether while the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In the node's own configuration, read at start.
    Node,
    /// Also for one broker while it runs.
    Broker,
    /// Also for one broker or for all of them while they run.
    Cluster,
    Topic,
    Group,
    ClientMetrics,
}

impl Scope {
    pub fn is_dynamic(self) -> bool {
        self != Scope::Node
    }
}

/// What a value must satisfy beyond its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Check {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    /// Within the range, or equal to the third.
    BetweenOr(i64, i64, i64),
    Fraction(f64, f64),
    /// One of these; of a list, each element.
    OneOf(&'static [&'static str]),
    OneOfIgnoreCase(&'static [&'static str]),
    NotEmpty,
    /// `ADDRESS:COUNT` pairs.
    AddressCounts,
    /// `PARTITION:BROKER` pairs, or `*`.
    ThrottledReplicas,
    /// `latest`, `earliest` or `by_duration:` and an ISO 8601 duration.
    OffsetReset,
}

/// Whether this build does what the setting says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Honoured {
    /// Not yet: only Kafka's default is accepted.
    No,
    /// In the node's own configuration, but not while the node runs.
    AtStart,
    /// Wherever Kafka takes it.
    Yes,
}

/// Where a topic's or a group's setting takes its default: a broker's setting, times a factor where the units differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synonym {
    pub name: &'static str,
    pub factor: i64,
}

/// One setting, as it is declared in the tables, once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    pub name: &'static str,
    pub kind: Type,
    /// As text; `None` where Kafka has no default.
    pub default: Option<&'static str>,
    pub check: Check,
    pub scope: Scope,
    /// Broker settings to take the default from, the first one given wins.
    pub synonyms: &'static [Synonym],
    pub doc: &'static str,
    /// Shown by DescribeConfigs only when it was given.
    pub internal: bool,
    pub honoured: Honoured,
}

impl Setting {
    pub(super) const fn new(
        kind: Type,
        name: &'static str,
        default: Option<&'static str>,
        check: Check,
        scope: Scope,
        synonyms: &'static [Synonym],
        doc: &'static str,
    ) -> Setting {
        let (internal, honoured) = (false, Honoured::No);
        Setting { name, kind, default, check, scope, synonyms, doc, internal, honoured }
    }

    pub(super) const fn internal(self) -> Setting {
        Setting { internal: true, ..self }
    }

    pub(super) const fn honoured(self) -> Setting {
        Setting { honoured: Honoured::Yes, ..self }
    }

    pub(super) const fn honoured_at_start(self) -> Setting {
        Setting { honoured: Honoured::AtStart, ..self }
    }

    /// Its value is never shown.
    pub fn is_sensitive(&self) -> bool {
        self.kind == Type::Password
    }
}

/// A group of settings, as docs/CONFIG.md shows them together.
#[derive(Debug, Clone, Copy)]
pub struct Area {
    pub title: &'static str,
    pub settings: &'static [Setting],
}

/// A table of settings, one to a row:
/// `Type "name" = default, check, Scope [+ honoured | + honoured_at_start] [+ internal] [, from [synonyms]]: "doc";`
macro_rules! settings {
    ($($kind:ident $name:literal = $default:tt, $check:expr, $scope:ident $(+ $flag:ident)*
        $(from [$($synonym:literal * $factor:literal),*])? : $doc:literal;)*) => {
        &[$(
            crate::settings::setting::Setting::new(
                crate::settings::setting::Type::$kind,
                $name,
                settings!(@default $default),
                $check,
                crate::settings::setting::Scope::$scope,
                &[$($(crate::settings::setting::Synonym { name: $synonym, factor: $factor }),*)?],
                $doc,
            )$(.$flag())*
        ),*]
    };
    (@default null) => { None };
    (@default $text:literal) => { Some($text) };
}
pub(super) use settings;
