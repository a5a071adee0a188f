/// Where a broker's life is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LifecycleState {
    #[default]
    Registering,
    /// Registered; the controller waits until this broker knows the metadata.
    Fenced,
    Serving,
    /// Leaderships are being moved away.
    ShuttingDown,
    /// The controller lets it go, or there is none.
    Released,
}
