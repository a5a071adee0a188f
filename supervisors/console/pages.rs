//! The pages, as they are in the binary. They load nothing from elsewhere and no text becomes markup: the policy that goes with them lets
//! a browser hold them to both.

use axum::Router;
use axum::http::HeaderName;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::response::IntoResponse;
use axum::routing::get;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// By path: what it is, and what it says.
const FILES: [(&str, &str, &str); 12] = [
    ("/", HTML, include_str!("pages/index.html")),
    ("/console.css", CSS, include_str!("pages/console.css")),
    ("/console.svg", SVG, include_str!("pages/console.svg")),
    ("/console.js", SCRIPT, include_str!("pages/console.js")),
    ("/kit.js", SCRIPT, include_str!("pages/kit.js")),
    ("/table.js", SCRIPT, include_str!("pages/table.js")),
    ("/tree.js", SCRIPT, include_str!("pages/tree.js")),
    ("/topics.js", SCRIPT, include_str!("pages/topics.js")),
    ("/records.js", SCRIPT, include_str!("pages/records.js")),
    ("/groups.js", SCRIPT, include_str!("pages/groups.js")),
    ("/cluster.js", SCRIPT, include_str!("pages/cluster.js")),
    ("/charts.js", SCRIPT, include_str!("pages/charts.js")),
];

pub(super) fn router() -> Router {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(async move || page(kind, text)))
    })
}

fn page(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 6] = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        // The next one may be of another version.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}
