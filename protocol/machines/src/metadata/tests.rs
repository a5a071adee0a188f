//! Images as built from records.
