//! Paging through a catalog shows exactly what judging every dataset shows, once each and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::catalog::{Extent, Page, Query, Reader, Start};
use engine::derived::Lapsed;
use engine::entity::{Dataset, Partner, PartnerState, Rules};
use engine::{Decision, Entity, Key, Store as _, judge};
use jiff::Timestamp;
use policy::evaluate::{Phase, Request, World, decide};
use policy::restrict::restrict;
use policy::set::{Groups, Purposes, RuleSet, Source};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{Site, context, dataset, draft};
use crate::FileStore;

/// A policy: for whom, about what, and whether it holds now.
#[derive(Debug, Clone)]
struct Offer {
    who: usize,
    tag: Option<usize>,
    dataset: Option<u64>,
    holds: bool,
}

/// A dataset: its tags, the policies assigned to it, and whether it was withdrawn.
#[derive(Debug, Clone)]
struct Shown {
    tags: BTreeSet<usize>,
    policies: BTreeSet<usize>,
    withdrawn: bool,
}

/// Everything that a case is made of.
#[derive(Debug, Clone)]
struct Case {
    offers: Vec<Offer>,
    datasets: Vec<Shown>,
    restricted: Option<usize>,
    filter: Value,
    page: usize,
    looked_at: usize,
}

/// Audiences: the first three reach the partner that asks, the others do not.
const WHO: [&str; 6] = [
    "anyone-registered = true",
    "partners = [\"did:web:a.example\", \"did:web:b.example\"]",
    "groups = [\"customers\"]",
    "groups = [\"suppliers\"]",
    "partners = [\"did:web:b.example\"]",
    "anyone-registered = true\nexcept-partners = [\"did:web:a.example\"]",
];

fn offers() -> impl Strategy<Value = Vec<Offer>> {
    let offer = |who: std::ops::Range<usize>, tags: usize| {
        (who, prop::option::of(0..tags), prop::option::of(0_u64..900), prop::bool::weighted(0.8))
            .prop_map(|(who, tag, dataset, holds)| Offer { who, tag, dataset, holds })
    };
    prop_oneof![
        prop::collection::vec(offer(0..6, 6), 0..8),
        // So many that the next datasets are looked at first; of tags that some have, or hardly any.
        prop::collection::vec(offer(0..3, 12), 66..90),
        prop::collection::vec(offer(0..3, 4_000), 66..90),
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    let shown =
        || {
            let tags = prop_oneof![
                Just(BTreeSet::new()),
                prop::collection::btree_set(0_usize..16, 0..3),
                prop::collection::btree_set(0_usize..4_000, 0..2),
            ];
            let policies = prop_oneof![
                6 => Just(BTreeSet::new()),
                1 => prop::collection::btree_set(0_usize..100, 0..2),
            ];
            (tags, policies, prop::bool::weighted(0.1))
                .prop_map(|(tags, policies, withdrawn)| Shown { tags, policies, withdrawn })
        };
    let datasets = prop_oneof![
        prop::collection::vec(shown(), 0..30),
        prop::collection::vec(shown(), 430..900),
    ];
    let filter = prop_oneof![
        4 => Just(json!([])),
        1 => Just(json!([{ "tag": ["t1", "t2", "t3"] }])),
        1 => Just(json!([{ "mediaType": "application/json" }, { "text": "odd" }])),
        1 => Just(json!([{ "id": ["dataset-00003", "dataset-00500", "dataset-00009"] }])),
    ];
    let restricted = prop::option::weighted(0.3, 0_usize..4);
    (offers(), datasets, restricted, filter, 1_usize..60, 1_usize..1_000).prop_map(
        |(offers, datasets, restricted, filter, page, looked_at)| Case {
            offers,
            datasets,
            restricted,
            filter,
            page,
            looked_at,
        },
    )
}

impl Case {
    fn rules(&self) -> Rules {
        let mut sources = Vec::new();
        for (number, Offer { who, tag, dataset, holds }) in self.offers.iter().enumerate() {
            let tags = tag.map_or(String::new(), |tag| format!("tags = [\"t{tag}\"]\n"));
            let datasets = dataset
                .map_or(String::new(), |number| format!("datasets = [\"dataset-{number:05}\"]\n"));
            let year = if *holds { 2100 } else { 2000 };
            let text = format!(
                "title = \"t\"\n[who]\n{}\n[what]\n{tags}{datasets}[[permit]]\nactions = [\"use\"]\n\
                 when = [\"dateTime lt {year}-01-01T00:00:00Z\"]\n",
                WHO[*who]
            );
            sources.push(Source { name: format!("p{number}.toml"), bytes: text.into_bytes() });
        }
        if let Some(tag) = self.restricted {
            let text =
                format!("[[prohibit]]\nactions = [\"use\"]\nreason = \"r\"\ntags = [\"t{tag}\"]\n");
            sources.push(Source { name: "restrictions.toml".to_owned(), bytes: text.into_bytes() });
        }
        let groups: Groups =
            ["customers", "suppliers"].map(|name| (name.to_owned(), BTreeSet::new())).into();
        let set = RuleSet::compile(&sources, &groups, &Purposes::default()).unwrap();
        Rules { v: 1, hash: String::new(), set: Arc::new(set) }
    }

    fn datasets(&self) -> Vec<Dataset> {
        let datasets = self.datasets.iter().zip(0_u64..).map(|(shown, number)| {
            let title = if number % 2 == 0 { "even" } else { "odd" };
            let Entity::Dataset(mut dataset) = dataset(number, title) else {
                panic!("it is a dataset")
            };
            dataset.tags = shown.tags.iter().map(|tag| format!("t{tag}")).collect();
            dataset.policies = shown.policies.iter().map(|policy| format!("p{policy}")).collect();
            dataset.withdrawn = shown.withdrawn.then_some(Timestamp::UNIX_EPOCH);
            if number % 3 == 0 {
                dataset.media_type = "application/json".to_owned();
            }
            dataset
        });
        datasets.collect()
    }
}

fn partner() -> Partner {
    Partner {
        v: 1,
        participant: "did:web:a.example".parse().unwrap(),
        name: "a".to_owned(),
        title: "A".to_owned(),
        state: PartnerState::Active,
        groups: BTreeSet::from(["customers".to_owned()]),
        region: None,
        operator_id: None,
        attributes: BTreeMap::new(),
        credentials: Vec::new(),
        dsp_endpoint: "https://a.example/dsp".to_owned(),
        origins: BTreeSet::new(),
        signing_key: None,
        card_number: None,
        extensions: BTreeSet::new(),
        handling: None,
        file_sha256: String::new(),
    }
}

/// Whether some policy is for the partner, about the dataset, and permits it in the catalog: asked of every one.
fn is_visible(reader: &Reader, dataset: &Dataset) -> bool {
    let subject = judge::subject(&reader.partner);
    let facts = judge::facts(dataset);
    let set = &reader.rules.set;
    let world = World { facts: &facts, ..World::new(reader.now, &subject, set.purposes()) };
    let target = dataset.id.as_str();
    let request = Request { action: "use", target, purposes: &[], phase: Phase::Catalog };
    dataset.is_available()
        && set.policies().any(|policy| {
            let about = policy.datasets.contains(target)
                || !policy.tags.is_disjoint(&dataset.tags)
                || dataset.policies.contains(&policy.name);
            let evaluation = decide(&policy.template, &request, &world);
            about
                && policy.audience.includes(&subject)
                && restrict(set, &dataset.tags, &request, &world, evaluation).is_permit()
        })
}

/// The ids of every page from a place on, as the links lead; each page with the place of the one before it.
async fn paged(
    store: &FileStore,
    reader: &mut Reader,
    query: &Query,
    start: Start,
    extent: Extent,
) -> Vec<String> {
    let context = context();
    let mut query = query.clone();
    let (mut start, relation) = match start {
        Start::Before(_) => (start, "previous"),
        _ => (start, "next"),
    };
    let mut found = Vec::new();
    loop {
        let mut page = Page::new(reader, &context, &query, start.clone(), extent);
        while let Some(wanted) = page.wanted() {
            let selected = store.select(wanted.clone()).await.unwrap();
            page.take(selected, Lapsed::new());
        }
        let on = page.links().into_iter().find(|link| link.relation == relation);
        let ids: Vec<_> =
            page.into_entries().iter().map(|(dataset, _)| dataset.id.to_string()).collect();
        assert!(ids.len() <= extent.datasets);
        match relation {
            "previous" => drop(found.splice(..0, ids)),
            _ => found.extend(ids),
        }
        let Some(on) = on else { return found };
        assert_ne!(on.start, start, "it leads to itself");
        (start, query) = (on.start, on.query);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn pages_show_what_judging_every_dataset_shows(case in cases()) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let site = Site::new();
            let (store, _) = site.open();
            let datasets = case.datasets();
            let stored = datasets.clone();
            store
                .transact(Vec::new(), move |_| {
                    let puts = stored.iter().map(|dataset| {
                        draft().put(Key::Dataset(dataset.id.clone()), dataset.clone())
                    });
                    Ok(Decision::commit(puts.collect(), ()))
                })
                .await
                .unwrap();
            let now = "2030-01-01T00:00:00Z".parse().unwrap();
            let mut reader = Reader { partner: partner(), rules: Arc::new(case.rules()), now, lapsed: Lapsed::new() };
            let query = Query::read(case.filter.as_array().unwrap()).unwrap();
            let visible: Vec<String> = datasets
                .iter()
                .filter(|dataset| query.filter.admits(dataset) && is_visible(&reader, dataset))
                .map(|dataset| dataset.id.to_string())
                .collect();
            let extent =
                Extent { datasets: case.page, bytes: 64 << 10, looked_at: case.looked_at };
            let forwards = paged(&store, &mut reader, &query, Start::First, extent).await;
            assert_eq!(forwards, visible);
            let some = Query { limit: Some(2), offset: case.page, ..query.clone() };
            let rest = paged(&store, &mut reader, &some, Start::First, extent).await;
            assert_eq!(rest, visible.iter().skip(case.page).cloned().collect::<Vec<_>>());
            // Greater than any id of this test.
            let end = Start::Before("zzz".parse().unwrap());
            assert_eq!(paged(&store, &mut reader, &query, end, extent).await, visible);
            store.close().await.unwrap();
        });
    }
}
