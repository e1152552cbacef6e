//! Commands of clusters and of replicas, as a server answers them that stands alone: clients ask at
//! their start whether it does.

use super::{Categories, Command, Flags, Group, HELP, integer};
use crate::client::ClientFlags;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use nuthatch_wire::resp::Args;

const ALWAYS: Flags = Flags::FAST.union(Flags::LOADING).union(Flags::STALE);

const NO_CLUSTER: &str = "ERR This instance has cluster support disabled";

const fn sub(
    name: &'static str,
    arity: i8,
    syntax: &'static str,
    summary: &'static str,
) -> Command {
    Command::new(name, arity, no_cluster)
        .flags(Flags::LOADING.union(Flags::STALE))
        .docs(Group::Cluster, "3.0.0", syntax, summary)
}

pub(super) const COMMANDS: &[Command] = &[
    Command::container(
        "cluster",
        &[
            sub("info", 2, "", "Answers that this is no cluster."),
            sub("myid", 2, "", "Answers that this is no cluster."),
            sub("nodes", 2, "", "Answers that this is no cluster."),
            sub("shards", 2, "", "Answers that this is no cluster."),
            sub("slots", 2, "", "Answers that this is no cluster."),
            sub("links", 2, "", "Answers that this is no cluster."),
            sub("keyslot", 3, "key", "Answers that this is no cluster."),
            sub(
                "countkeysinslot",
                3,
                "slot",
                "Answers that this is no cluster.",
            ),
            sub(
                "getkeysinslot",
                4,
                "slot count",
                "Answers that this is no cluster.",
            ),
            HELP.group(Group::Cluster, "5.0.0"),
        ],
    )
    .docs(Group::Cluster, "3.0.0", "", "Commands of clusters."),
    Command::new("readonly", 1, readonly)
        .flags(ALWAYS)
        .categories(Categories::CONNECTION)
        .docs(
            Group::Cluster,
            "3.0.0",
            "",
            "Says that the connection only reads, which changes nothing here.",
        ),
    Command::new("readwrite", 1, readwrite)
        .flags(ALWAYS)
        .categories(Categories::CONNECTION)
        .docs(
            Group::Cluster,
            "3.0.0",
            "",
            "Takes back what READONLY said.",
        ),
    Command::new("asking", 1, no_cluster)
        .flags(Flags::FAST)
        .categories(Categories::CONNECTION)
        .docs(
            Group::Cluster,
            "3.0.0",
            "",
            "Answers that this is no cluster.",
        ),
    Command::new("role", 1, role)
        .flags(ALWAYS.union(Flags::NOSCRIPT))
        .categories(Categories::ADMIN.union(Categories::DANGEROUS))
        .docs(
            Group::Server,
            "2.8.12",
            "",
            "Returns the server's part in replication: a master without replicas.",
        ),
    Command::new("wait", 3, wait)
        .categories(Categories::CONNECTION.union(Categories::BLOCKING))
        .docs(
            Group::Generic,
            "3.0.0",
            "numreplicas timeout",
            "Returns how many replicas have the connection's writes: 0, for there are none.",
        ),
];

fn no_cluster(_: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    Err(NO_CLUSTER.into())
}

fn readonly(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    says_it_reads(ctx, true)
}

fn readwrite(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    says_it_reads(ctx, false)
}

fn says_it_reads(ctx: &mut Context<'_>, on: bool) -> CommandResult {
    ctx.session.client.set_flags(ClientFlags::READONLY, on);
    ctx.reply.ok();
    Ok(())
}

fn role(ctx: &mut Context<'_>, _: Args<'_>) -> CommandResult {
    ctx.reply.array(3);
    ctx.reply.bulk(b"master");
    ctx.reply.integer(0);
    ctx.reply.array(0);
    Ok(())
}

fn wait(ctx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    let replicas = integer(args.at(1))?;
    let timeout_ms = integer(args.at(2))
        .map_err(|_| CommandError::from("ERR timeout is not an integer or out of range"))?;
    if timeout_ms < 0 {
        return Err("ERR timeout is negative".into());
    }
    // The moment at which it would end must be one that can be told.
    if i64::try_from(ctx.now_ms()).is_ok_and(|now| now.checked_add(timeout_ms).is_none()) {
        return Err("ERR timeout is out of range".into());
    }
    if replicas < 0 {
        return Err("ERR value is out of range, must be positive".into());
    }
    ctx.reply.integer(0);
    Ok(())
}
