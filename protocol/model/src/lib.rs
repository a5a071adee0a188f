//! What every node must agree on before a byte is read: ids, epochs, error codes and the table of settings.
