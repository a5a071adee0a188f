//! Decisions by table.
