"""Every key of zoo.cfg by its name, type, default and effect: what kraal knows of settings.

Marks: (live) a change counts without a restart; (jvm) a property of the JVM in ZooKeeper;
(own) kraal alone has it.

`config_keys` and docs/reference/configuration.md are made from this table. Source:
reference/operations.md sections 1.2, 1.3, 3.1 and 7; where a default is not the original's, the
row says what that is.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Setting:
    """One key."""

    name: str
    kind: str
    """Type, with its unit."""
    default: str
    """What counts where the key is not set; empty: nothing does."""
    meaning: str
    """What it does; of a key without effect, why it has none."""
    is_live: bool = False
    """Whether a change counts without a restart."""


CLIENTS = """
clientPort | port | | Port for clients; 0 takes a free one; none: nothing listens.
clientPortAddress | host | all addresses | Address to listen on.
clientPortListenBacklog | number | -1 | Connections that may wait to be accepted; -1: 1024.
secureClientPort | port | | Port that speaks TLS alone; 0 takes a free one.
secureClientPortAddress | host | all addresses | Address to listen on with TLS.
client.portUnification | true/false | false | `clientPort` speaks TLS, too: the first byte decides.
netty.server.outstandingHandshake.limit | number | -1 | TLS handshakes with clients that may be under way; -1: any number.
clientTcpKeepAlive | true/false | false | TCP keep-alive on connections of clients.
maxClientCnxns | number | 60 | Connections from one address; 0: any number.
maxCnxns | number | 0 | Connections in all; 0: any number.
nio.sessionlessCnxnTimeout | ms | 10000 | A connection without a session is closed after that.
connection_throttle_tokens | number | 0 | Sessions that may begin at once, by a token each; 0: no limit.
connection_throttle_fill_time | ms | 1 | How often tokens are added.
connection_throttle_fill_count | number | 1 | How many are added each time.
tickTime | ms | 3000 | The unit of session timeouts, initLimit and syncLimit.
minSessionTimeout | ms | 2 ticks | Least timeout that a client gets; -1 is the default, too.
maxSessionTimeout | ms | 20 ticks | Largest timeout that a client gets; -1 is the default, too.
jute.maxbuffer | bytes | 1048575 | Largest request, and data of a znode; longer ones end their connection. (jvm)
jute.maxbuffer.extrasize | bytes | as jute.maxbuffer | Room beyond that in what servers write themselves.
globalOutstandingLimit | number | 1000 | Requests in process, shared by the voters; beyond, clients are not read.
request_throttle_max_requests | number | 0 | Requests in process at this server; 0: no limit.
throttled_op_wait_time | ms | 0 | A write that waits longer is refused with THROTTLED_OP; 0: none is.
largeRequestThreshold | bytes | -1 | Requests from that size on count as large; -1: none does.
largeRequestMaxBytes | bytes | 104857600 | Large requests that may be in process together.
4lw.commands.whitelist | list | srvr | Four-letter words that are answered, with commas; `*` is all.
readonlymode.enabled | true/false | false | A member without a leader serves reads. (jvm)
refusedRequestMaxBytes | bytes | 0 | Requests between `jute.maxbuffer` and this are refused with MarshallingError, and their connection stays; 0: none. (own)
maxWatchesPerSession | number | 0 | Requests that would set more watches are refused with QuotaExceeded; 0: any number. (own)
loneClientPollMicros | µs | 50 | How long the next request of a lone client is looked for before the server sleeps; 0: not at all. (own)
slowRequestThresholdMs | ms | 1000 | Requests that take longer are remembered for `slow_requests`. (own)
"""

TREE = """
enforceQuota | true/false | false | Hard quotas are enforced.
extendedTypesEnabled | true/false | false | TTL znodes; the server's id must be at most 254.
znode.container.checkIntervalMs | ms | 60000 | How often empty containers and old TTL znodes are looked for. (jvm)
znode.container.maxPerMinute | number | 10000 | How many of them are deleted a minute. (jvm)
znode.container.maxNeverUsedIntervalMs | ms | 0 | A container that never had a child goes after that; 0: never. (jvm)
digest.enabled | true/false | true | A digest of the tree in every transaction and snapshot, compared by all members.
closeSessionTxn.enabled | true/false | true | The end of a session lists its ephemerals.
"""

STORAGE = """
dataDir | path | | Snapshots, `myid`; must be set.
dataLogDir | path | dataDir | Transaction logs.
datadir.autocreate | true/false | true | Missing directories are made.
db.autocreate | true/false | true | false: a member with an empty directory does not vote before it has the tree.
forceSync | yes/no | yes | no: a write is acknowledged before it is on the disk.
fsync.warningthresholdms | ms | 1000 | Slower syncs of the log are warned about.
preAllocSize | KB | 65536 | By how much a log file grows at a time.
txnLogSizeLimitInKb | KB | -1 | A log file of that size is closed and the next begun; -1: no limit.
snapCount | number | 100000 | Transactions from snapshot to snapshot, at most.
snapSizeLimitInKb | KB | 4194304 | Bytes of log from snapshot to snapshot, at most; 0: no limit.
snapshot.compression.method | gz, snappy | none | How snapshots are compressed.
snapshot.trust.empty | true/false | false | Logs without any snapshot are replayed upon an empty tree.
serializeLastProcessedZxid.enabled | true/false | true | Snapshots end with the last zxid they hold.
autopurge.snapRetainCount | number | 3 | Snapshots that a purge keeps; at least 3.
autopurge.purgeInterval | hours | 1 | How often is purged; 0: never. ZooKeeper's default is 0.
autopurge.retainHours | hours | 0 | A purge also keeps what leads back so far. (own)
autopurge.retainBytes | bytes | 0 | A purge keeps no more than that, down to two snapshots; 0: as it takes. (own)
disk.warnFreeBytes | bytes | 536870912 | With less room there are warnings and purges; 0: never. (own)
disk.refuseFreeBytes | bytes | 67108864 | With less room growing writes are refused; 0: never. (own)
"""

ENSEMBLE = """
server.N | members | | A server of the ensemble: `host:quorum:election[:observer][;client[;secure]]`; a reconfiguration changes it. (live)
group.N | members | | Servers of a group, joined by colons, where quorums are hierarchical; a reconfiguration changes it. (live)
weight.N | number | 1 | A server's weight in its group; a reconfiguration changes it. (live)
dynamicConfigFile | path | | The file that holds the members; reconfigurations write the next one. (live)
initLimit | ticks | | Time to connect to a leader and get in step; must be set in an ensemble.
syncLimit | ticks | | Time without a sign of life between members; must be set in an ensemble.
connectToLearnerMasterLimit | ticks | initLimit | Time to connect to a leader alone; 0 is the default, too.
electionAlg | number | 3 | Only 3 is accepted.
peerType | participant, observer | participant | The member's line decides; another role here is warned about.
standaloneEnabled | true/false | true | false: a single member is an ensemble of one, and can grow.
reconfigEnabled | true/false | false | The membership can be changed while serving.
sslQuorum | true/false | false | Servers dial each other by TLS.
portUnification | true/false | false | Their ports accept TLS and what is none.
quorum.auth.enableSasl | true/false | false | Servers may log in to each other by SASL; the JAAS file has how.
quorum.auth.learnerRequireSasl | true/false | false | This server logs in to those that it dials.
quorum.auth.serverRequireSasl | true/false | false | This server demands a login of those that dial it.
quorum.auth.server.saslLoginContext | name | QuorumServer | The section with the users that other servers are.
quorum.auth.learner.saslLoginContext | name | QuorumLearner | The section that says who this server is to others.
quorumListenOnAllIPs | true/false | false | Quorum and election port listen on all addresses.
multiAddress.enabled | true/false | false | A member may have several addresses, joined by bars.
localSessionsEnabled | true/false | false | Sessions that only their server knows.
localSessionsUpgradingEnabled | true/false | false | A local session becomes global with its first ephemeral.
leaderServes | yes/no | yes | no: a leader serves no clients.
syncEnabled | true/false | true | Whether an observer writes log and snapshots.
observer.syncEnabled | true/false | syncEnabled | The same, and counts more.
observerMasterPort | port | 0 | Followers serve observers there; 0: they do not.
observerMaster.sizeLimit | bytes | 33554432 | Transactions that are kept for observers.
observer.reconnectDelayMs | ms | 0 | How long an observer waits before it comes back.
observer.election.DelayMs | ms | 200 | How long an observer waits before it asks for the leader again.
cnxTimeout | ms | 5000 | Time to connect to an election port.
quorumCnxnTimeoutMs | ms | syncLimit | Time for the first words of an election connection; -1 is the default, too.
electionPortBindRetry | number | 3 | Attempts to listen on the election port, 1 s apart; 0: without end.
tcpKeepAlive | true/false | false | TCP keep-alive on election connections.
fastleader.minNotificationInterval | ms | 200 | First interval after which votes are sent again.
fastleader.maxNotificationInterval | ms | 60000 | Largest such interval.
leader.maxTimeToWaitForEpoch | ms | -1 | How long a leader waits for a quorum's epochs; -1: initLimit.
leaderConnectDelayDuringRetryMs | ms | 100 | Between attempts to connect to the leader.
leader.nodelay | true/false | true | Small packets to learners leave at once. (jvm)
follower.nodelay | true/false | true | Small packets to the leader leave at once. (jvm)
forceSnapshotSync | true/false | false | Learners always get the whole tree.
commitLogCount | number | 500 | Transactions kept in memory for learners; at least 500.
snapshotSizeFactor | number | 0.33 | How much log is sent instead of the tree, as a share of its snapshot; negative: none.
leader.ackLoggingFrequency | number | 1000 | Every how many proposals `ack_latency` is measured.
leader.maxConcurrentSnapSyncs | number | 10 | Learners that get the whole tree at the same time.
leader.maxConcurrentDiffSyncs | number | 100 | Learners that get transactions at the same time.
treeResyncIntervalMs | ms | 3600000 | A member whose tree differs takes the leader's, at most that often; 0: never. (own)
"""

SECURITY = """
skipACL | yes/no | no | yes: no permissions are checked.
DigestAuthenticationProvider.enabled | true/false | true | The scheme `digest`.
DigestAuthenticationProvider.superDigest | user:hash | | Who gives this password is the superuser.
DigestAuthenticationProvider.digestAlg | algorithm | SHA1 | Hash of passwords; the same on all members.
enforce.auth.enabled | true/false | false | Requests need one of the schemes below.
enforce.auth.schemes | list | | Which: `digest`, `ip`, `sasl`, `x509`.
java.security.auth.login.config | path | | The JAAS file: users of SASL, or who the server is in Kerberos; see docs/security.md. (jvm)
sasl.serverconfig | name | Server | Its section for clients. (jvm)
authProvider.N | class | | `org.apache.zookeeper.server.auth.SASLAuthenticationProvider`: ACLs may have the scheme `sasl`.
superUser | name | | Who logs in by SASL under this name is the superuser; `superUser.X` names others.
letAnySaslUserDoX | id | | This id in an ACL is everybody who has logged in by SASL.
SASLAuthenticationProvider.superPassword | text | | Password of the user `super`, instead of that in the file. (jvm)
sessionRequireClientSASLAuth | true/false | false | Requests need a login by SASL.
allowSaslFailedClients | true/false | false | A client whose login is refused goes on without.
kerberos.removeHostFromPrincipal | true/false | false | Ids are without the host of the name.
kerberos.removeRealmFromPrincipal | true/false | false | Ids are without the realm of the name.
security.auth_to_local | rules | DEFAULT | Which users names with a realm are.
audit.enable | true/false | false | The audit log of writes.
audit.file | path | the server's log | Where it goes. (own)
"""

ADMIN = """
admin.enableServer | true/false | true | The admin server.
admin.serverAddress | host | 0.0.0.0 | Its address.
admin.serverPort | port | 8080 | Its port.
admin.commandURL | path | /commands | Where the commands are.
admin.idleTimeout | ms | 30000 | A connection that says nothing is closed after that.
admin.forceHttps | true/false | false | Only HTTPS is spoken.
admin.portUnification | true/false | false | HTTP and HTTPS are spoken on the same port.
admin.needClientAuth | true/false | false | A certificate that the trust store vouches for is needed.
admin.rateLimiterIntervalInMS | ms | 300000 | One restore in so many ms, one snapshot in so many µs.
admin.snapshot.enabled | true/false | true | The command `snapshot`.
admin.restore.enabled | true/false | true | The command `restore`.
IPAuthenticationProvider.usexforwardedfor | true/false | false | The first address of `X-Forwarded-For` is the client's.
metricsProvider.className | class | DefaultMetricsProvider | `org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider` opens the endpoint.
metricsProvider.httpHost | host | 0.0.0.0 | Its address.
metricsProvider.httpPort | port | 7000 | Its port.
metricsProvider.exportJvmInfo | true/false | true | Figures of the process, too.
"""

_TLS = """
{}keyStore.location | path | | Private key and certificates: PEM, PKCS12 or JKS; the file is read again when it changes. (live)
{}keyStore.password | text | | Its password.
{}keyStore.passwordPath | path | | The file that holds its password; counts more.
{}trustStore.location | path | | Certificates of authorities: PEM, PKCS12 or JKS; the file is read again when it changes. (live)
{}trustStore.password | text | | Its password.
{}trustStore.passwordPath | path | | The file that holds its password; counts more.
{}protocol | version | TLSv1.3 | The newest version that is spoken.
{}ciphersuites | list | as OpenSSL has them | Cipher suites by their standard names, with commas.
"""

TLS = (
    _TLS.format(*["ssl."] * 8)
    + """
ssl.enabledProtocols | list | ssl.protocol | The versions that are spoken, with commas.
ssl.clientAuth | none, want, need | need | Whether clients show a certificate.
ssl.clientHostnameVerification | true/false | false | It must name the address that the client comes from.
ssl.hostnameVerification | true/false | true | false: `ssl.clientHostnameVerification` does not count.
ssl.handshakeDetectionTimeoutMillis | ms | 5000 | With `client.portUnification`: who says nothing for so long speaks no TLS.
ssl.authProvider | x509 | x509 | Who a certificate is of; only this one is accepted.
X509AuthenticationProvider.superUser | name | | The subject of the superuser's certificate, as in `CN=root,O=Acme`.
""".lstrip()
    + _TLS.format(*["ssl.quorum."] * 8).lstrip()
    + """
ssl.quorum.enabledProtocols | list | as ssl.quorum.protocol, and TLSv1.2 | The versions that are spoken, with commas.
ssl.quorum.clientAuth | none, want, need | need | Whether servers that connect show a certificate.
ssl.quorum.hostnameVerification | true/false | true | The certificate of a server that is dialled must name its host in `server.N`.
ssl.quorum.clientHostnameVerification | true/false | true | That of one that connects must name a host of the members, too.
ssl.quorum.handshakeDetectionTimeoutMillis | ms | 5000 | With `portUnification`: who says nothing for so long speaks no TLS.
""".lstrip()
)
"""Of clients, and of servers among themselves with the admin port."""

NOT_YET = "kraal has not the feature yet; a start warns"
_SAID_ALONE = "kraal has not the feature yet; a start says what that means"
REFUSED_YET = "kraal has not the feature yet; a start that asks for it is refused"
_JVM = "it is about the JVM and its libraries"
_STAGES = "it is about threads, queues and buffers that kraal has not"
_CACHES = "it is about caches and watch tables that kraal has not"
_DEBUG = "it is about a log for debugging that kraal has not"
_SASL = "it is about Kerberos between servers, or as the JVM has it, which kraal has not"
_OTHERWISE = "kraal does it always, or otherwise"
_BY_CONTENT = "what is in a store says of which type it is"

WITHOUT_EFFECT: tuple[tuple[str, str], ...] = (
    (
        NOT_YET,
        """
        audit.impl.class ensembleAuthName
        emulate353TTLNodes request_stale_connection_check request_stale_latency_check
        request_throttle_stall_time request_throttle_drop_stale flushDelay maxWriteQueuePollTime
        maxBatchSize connection_throttle_freeze_time connection_throttle_drop_increase
        connection_throttle_drop_decrease connection_throttle_decrease_ratio
        connection_throttle_weight_enabled connection_throttle_global_session_weight
        connection_throttle_local_session_weight connection_throttle_renew_session_weight
        """,
    ),
    (
        _SAID_ALONE,
        """
        oraclePath
        kerberos.canonicalizeHostNames
        """,
    ),
    (
        REFUSED_YET,
        """
        ssl.crl ssl.ocsp
        ssl.quorum.crl ssl.quorum.ocsp
        """,
    ),
    (
        _BY_CONTENT,
        """
        ssl.keyStore.type ssl.trustStore.type ssl.quorum.keyStore.type ssl.quorum.trustStore.type
        """,
    ),
    (
        _SASL,
        """
        quorum.auth.kerberos.servicePrincipal requireKerberosConfig
        kinit quorum.cnxn.threads.size
        """,
    ),
    (
        _JVM,
        """
        fips-mode serverCnxnFactory admin.httpVersion jvm.pause.monitor
        jvm.pause.info-threshold.ms jvm.pause.warn-threshold.ms jvm.pause.sleep.time.ms
        netty.advancedFlowControl.enabled ssl.sslProvider ssl.context.supplier.class
        ssl.quorum.context.supplier.class
        netty.server.earlyDropSecureConnectionHandshakes metricsProvider.numWorkerThreads
        metricsProvider.maxQueueSize metricsProvider.workerShutdownTimeoutMs
        """,
    ),
    (
        _STAGES,
        """
        learner.asyncSending learner.closeSocketAsync leader.closeSocketAsync
        request_throttler.shutdownTimeout intBufferStartingSizeBytes nio.numSelectorThreads
        nio.numWorkerThreads nio.directBufferBytes nio.shutdownTimeout
        commitProcessor.numWorkerThreads commitProcessor.shutdownTimeout
        commitProcessor.maxReadBatchSize commitProcessor.maxCommitBatchSize
        forward_learner_requests_to_commit_processor_disabled
        follower.skipLearnerRequestToNextProcessor
        """,
    ),
    (
        _CACHES,
        """
        maxResponseCacheSize maxGetChildrenResponseCacheSize watchManagerName
        watcherCleanThreshold watcherCleanIntervalInSeconds watcherCleanThreadsNum
        maxInProcessingDeadWatchers bitHashCacheSize
        """,
    ),
    (
        _DEBUG,
        """
        messageTracker.Enabled messageTracker.BufferSize pathStats.enabled
        pathStats.slotCapacity pathStats.slotDuration pathStats.maxDepth pathStats.sampleRate
        pathStats.topPathMax pathStats.initialDelay pathStats.delay
        """,
    ),
    (
        _OTHERWISE,
        """
        enableEagerACLCheck sslQuorumReloadCertFiles client.certReload
        ssl.allowReverseDnsLookup ssl.quorum.allowReverseDnsLookup
        multiAddress.reachabilityCheckEnabled multiAddress.reachabilityCheckTimeoutMs
        """,
    ),
)
"""Reasons, and the keys that they are about."""

SECTIONS = (
    ("Clients and sessions", CLIENTS),
    ("Znodes", TREE),
    ("Data directory", STORAGE),
    ("Ensemble", ENSEMBLE),
    ("Permissions and audit", SECURITY),
    ("TLS", TLS),
    ("Admin server and metrics", ADMIN),
)


_MARKS = {
    " (jvm)": " ZooKeeper takes it from the JVM's command line only.",
    " (own)": " kraal's own.",
}


def rows(table: str) -> list[Setting]:
    """The settings of one section."""
    found = []
    for line in table.strip().splitlines():
        name, kind, default, meaning = (part.strip() for part in line.split("|"))
        is_live = meaning.endswith(" (live)")
        meaning = meaning.removesuffix(" (live)")
        for mark, words in _MARKS.items():
            meaning = meaning.replace(mark, words)
        found.append(Setting(name, kind, default, meaning, is_live))
    return found


EFFECTIVE = {setting.name: setting for _, table in SECTIONS for setting in rows(table)}
"""The settings that change what kraal does, by name; `server.N` and its like are families."""

IDLE = {
    key: reason for reason, keys in WITHOUT_EFFECT for key in keys.split() if key not in EFFECTIVE
}
"""The others, with the reason."""
