//! The catalog, page by page, and single datasets.

use std::sync::Arc;

use engine::Peer;
use engine::catalog::{self, Extent, Page, Query, Selected, Start};
use engine::derived::Lapsed;
use engine::refusal::{Refusal, RefusalKind};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use protocol::id::DatasetId;
use protocol::message::{self, CatalogRequestMessage};
use protocol::path;

use super::{Outcome, boxed, failed, invalid, not_found, read};
use crate::net::{Body, gzip, keeping};
use crate::node::Node;
use crate::partner::cursor::{Cursor, Sought};
use crate::wire::{self, Shape};

/// How many datasets are looked at for one page at most: beyond it a page is short, or empty, and its link leads on.
const LOOKED_AT: usize = 2_000;
/// How many bytes the entries of a page have, but for its last: what other connectors take as one answer.
const PAGE_BYTES: usize = 512 * 1024;
/// What is smaller is not worth compressing.
const GZIP_FROM_BYTES: usize = 1024;

/// Answers a CatalogRequestMessage with the first page. The page that a link names can be had with GET, or with POST of the
/// same message or of one without a filter.
pub(super) async fn page(node: &Arc<Node>, request: Request<Incoming>, peer: &Peer) -> Outcome {
    let shape = Shape::Catalog;
    let Some(place) = node.catalogs.take(&peer.participant, None) else {
        let text = "your earlier catalog requests are not answered yet; wait for them";
        let internal = "partner_listener.max_concurrent_catalog_requests_per_partner_count";
        let refusal = Refusal::new(RefusalKind::TooMany, text, internal, node.fresh().reference);
        return Err(failed(refusal, shape));
    };
    let cursor = Cursor::of(request.uri());
    let takes_gzip = gzip::is_taken(request.headers());
    if cursor.is_none() && request.method() == Method::GET {
        return Ok(wire::not_allowed(&[Method::POST]));
    }
    let refuse = |text: String| failed(invalid(node, &text), Shape::Catalog);
    let asked = if request.method() == Method::GET {
        None
    } else {
        let incoming: message::Incoming<CatalogRequestMessage> =
            read(node, peer, request, &shape).await?;
        let query =
            Query::read(&incoming.message.filter).map_err(|error| refuse(error.to_string()))?;
        Some(query).filter(|_| cursor.is_none() || !incoming.message.filter.is_empty())
    };
    let site = node.identity.site.load();
    let Sought { query, start } = match &cursor {
        None => Sought { query: asked.unwrap_or_default(), start: Start::First },
        Some(cursor) => {
            let sought = cursor
                .open(&site.token_key, &peer.participant)
                .map_err(|error| refuse(error.to_string()))?;
            if asked.is_some_and(|asked| asked.filter != sought.query.filter) {
                let text = "this page's address is of another filter; repeat the filter of the first page, or send none";
                return Err(refuse(text.to_owned()));
            }
            sought
        }
    };
    let (fresh, asking) = (node.fresh(), peer.clone());
    let mut reader = node
        .decide(move |view| catalog::admit(view, &fresh, &asking))
        .await
        .map_err(|trouble| boxed(trouble, &shape))?;
    let extent = Extent {
        datasets: node.config.catalog.max_page_datasets_count,
        bytes: PAGE_BYTES,
        looked_at: LOOKED_AT,
    };
    let mut page = Page::new(&mut reader, &node.context, &query, start, extent);
    while let Some(wanted) = page.wanted() {
        let unread = |error: engine::StoreError| boxed(error.into(), &shape);
        let selected = node.store.select(wanted.clone()).await.map_err(unread)?;
        let lapsed = lapsed(node, &selected).await.map_err(unread)?;
        page.take(selected, lapsed);
    }
    let links = page.links().into_iter().map(|link| {
        let sought = Sought { query: link.query, start: link.start };
        let cursor = Cursor::seal(&site.token_key, &peer.participant, &sought);
        let (endpoint, path) = (&node.context.dsp_endpoint, path::CATALOG_REQUEST);
        format!("<{endpoint}{path}?{}>; rel=\"{}\"", cursor.query(), link.relation)
    });
    let links = links.collect::<Vec<_>>().join(", ");
    let groups = &node.config.catalog.nested_by_tags;
    let entries = page.into_entries().into_iter().map(|(dataset, entry)| {
        let group = groups.iter().find(|tag| dataset.tags.contains(*tag)).map(String::as_str);
        (group, entry)
    });
    let Some(catalog) = reader.catalog(&node.context, entries.collect()) else {
        return Ok(wire::bare(StatusCode::INTERNAL_SERVER_ERROR));
    };
    let mut response = encoded(message::to_bytes(&catalog, None), takes_gzip);
    if let Ok(links) = HeaderValue::try_from(links)
        && !links.is_empty()
    {
        response.headers_mut().insert(header::LINK, links);
    }
    // Whoever asks and takes nothing must not make us hold one page after the other.
    Ok(response.map(|body| keeping(body, place)))
}

/// Answers with one dataset.
pub(super) async fn dataset(node: &Arc<Node>, peer: &Peer, id: &str) -> Outcome {
    let shape = Shape::Catalog;
    let fresh = node.fresh();
    let Ok(id) = DatasetId::new(id) else {
        return Err(failed(not_found(node), shape));
    };
    let (context, peer) = (Arc::clone(&node.context), peer.clone());
    let dataset = node
        .decide(move |view| catalog::dataset(view, &context, &fresh, &peer, &id))
        .await
        .map_err(|trouble| boxed(trouble, &shape))?;
    Ok(wire::message(StatusCode::OK, &dataset))
}

fn encoded(bytes: Vec<u8>, takes_gzip: bool) -> Response<Body> {
    if !takes_gzip || bytes.len() < GZIP_FROM_BYTES {
        return wire::json(StatusCode::OK, bytes);
    }
    let mut response = wire::json(StatusCode::OK, gzip::compress(&bytes));
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(gzip::NAME));
    response
}

/// The agreements that ended, among those on which found datasets depend.
async fn lapsed(node: &Node, selected: &Selected) -> Result<Lapsed, engine::StoreError> {
    let derived = selected.datasets.iter().filter(|found| !found.derived_from.is_empty());
    let derived: Vec<_> = derived.cloned().collect();
    if derived.is_empty() {
        return Ok(Lapsed::new());
    }
    let ended = move |view: &dyn engine::View| {
        let datasets = derived.iter().map(AsRef::as_ref);
        engine::derived::lapsed(view, datasets).map(engine::Decision::answer)
    };
    node.commit(ended).await
}
