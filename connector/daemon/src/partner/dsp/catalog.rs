//! The catalog, page by page, and single datasets.

use std::sync::Arc;

use engine::Peer;
use engine::catalog::{self, Filter, Start};
use engine::refusal::{Refusal, RefusalKind};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use protocol::id::DatasetId;
use protocol::message::{self, CatalogRequestMessage};
use protocol::path;

use super::{Outcome, boxed, failed, invalid, not_found, read};
use crate::net::{Body, gzip, keeping};
use crate::node::Node;
use crate::partner::cursor::Cursor;
use crate::wire::{self, Shape};

/// How many datasets are looked at for one page at most: beyond it a page is short, or empty, and its link leads on.
const LOOKED_AT: usize = 2_000;
/// How many bytes the entries of a page have, but for its last: what other connectors take as one answer.
const PAGE_BYTES: usize = 512 * 1024;
/// What is smaller is not worth compressing.
const GZIP_FROM_BYTES: usize = 1024;

/// Answers a CatalogRequestMessage with the first page, or with the page that a link names. A page of an unfiltered catalog
/// can also be had with GET.
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
    let filter = if request.method() == Method::GET {
        if cursor.is_none() {
            return Ok(wire::bare(StatusCode::METHOD_NOT_ALLOWED));
        }
        Filter::default()
    } else {
        let incoming: message::Incoming<CatalogRequestMessage> =
            read(node, peer, request, &shape).await?;
        Filter::read(&incoming.message.filter)
            .map_err(|error| failed(invalid(node, &error.to_string()), shape.clone()))?
    };
    let site = node.identity.site.load();
    let start = match &cursor {
        None => Start::First,
        Some(cursor) => cursor
            .open(&site.token_key, &peer.participant, &filter)
            .map_err(|error| failed(invalid(node, &error.to_string()), shape.clone()))?,
    };
    let (fresh, asking) = (node.fresh(), peer.clone());
    let mut reader = node
        .decide(move |view| catalog::admit(view, &fresh, &asking))
        .await
        .map_err(|trouble| boxed(trouble, &shape))?;
    let page = Page::read(node, &mut reader, &filter, start)
        .await
        .map_err(|error| boxed(error.into(), &shape))?;
    let links = page.links().into_iter().map(|(relation, start)| {
        let cursor = Cursor::seal(&site.token_key, &peer.participant, &filter, &start);
        let endpoint = &node.context.dsp_endpoint;
        format!("<{endpoint}{}?{}>; rel=\"{relation}\"", path::CATALOG_REQUEST, cursor.query())
    });
    let links = links.collect::<Vec<_>>().join(", ");
    let groups = &node.config.catalog.nested_by_tags;
    let entries = page.entries.into_iter().map(|(dataset, entry)| {
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

/// A part of the catalog, in the order of ids.
struct Page {
    start: Start,
    entries: Vec<(Arc<engine::entity::Dataset>, message::Dataset)>,
    /// The id up to which was looked, where there may be more beyond it.
    more_from: Option<DatasetId>,
}

impl Page {
    async fn read(
        node: &Node,
        reader: &mut catalog::Reader,
        filter: &Filter,
        start: Start,
    ) -> Result<Self, engine::StoreError> {
        let limit = node.config.catalog.max_page_datasets_count;
        let is_backwards = matches!(start, Start::Before(_));
        let mut page = Self { start: start.clone(), entries: Vec::new(), more_from: None };
        let mut selection = reader.selection(filter, start, limit);
        let (mut looked_at, mut bytes) = (0, 0);
        loop {
            let selected = node.store.select(selection.clone()).await?;
            page.more_from = selected.more_from;
            let found = selected.datasets.len();
            looked_at += found;
            let derived: Vec<_> = selected
                .datasets
                .iter()
                .filter(|found| !found.derived_from.is_empty())
                .cloned()
                .collect();
            if !derived.is_empty() {
                let ended = move |view: &dyn engine::View| {
                    let datasets = derived.iter().map(AsRef::as_ref);
                    engine::derived::lapsed(view, datasets).map(engine::Decision::answer)
                };
                reader.lapsed.extend(node.commit(ended).await?);
            }
            for (number, dataset) in selected.datasets.into_iter().enumerate() {
                if filter.admits(&dataset)
                    && let Some(entry) = reader.entry(&node.context, &dataset)
                {
                    bytes += message::to_bytes(&entry, None).len();
                    page.entries.push((Arc::clone(&dataset), entry));
                }
                let is_full = page.entries.len() >= limit || bytes >= PAGE_BYTES;
                if is_full && number + 1 < found {
                    page.more_from = Some(dataset.id.clone());
                    break;
                }
            }
            let is_full = page.entries.len() >= limit || bytes >= PAGE_BYTES;
            let Some(id) = page.more_from.clone() else { break };
            if is_full || looked_at >= LOOKED_AT {
                break;
            }
            selection.start = if is_backwards { Start::Before(id) } else { Start::After(id) };
        }
        if is_backwards {
            page.entries.reverse();
        }
        Ok(page)
    }

    /// Where the pages beside this one begin (RFC 8288; the relations are those that DSP 2025-1 names).
    fn links(&self) -> Vec<(&'static str, Start)> {
        let first = self.entries.first().map(|(dataset, _)| dataset.id.clone());
        let last = self.entries.last().map(|(dataset, _)| dataset.id.clone());
        let (next, previous) = match &self.start {
            Start::First => (self.more_from.clone().map(Start::After), None),
            Start::After(_) => (self.more_from.clone().map(Start::After), first.map(Start::Before)),
            // Behind a page that was reached backwards there is the one from which it was.
            Start::Before(_) => (
                Some(last.map_or(Start::First, Start::After)),
                self.more_from.clone().map(Start::Before),
            ),
        };
        let next = next.map(|start| ("next", start));
        next.into_iter().chain(previous.map(|start| ("previous", start))).collect()
    }
}
