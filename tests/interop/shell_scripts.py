"""Lines that zkCli and `kraal shell` are given, in their order, and where they may differ."""

from __future__ import annotations

from collections.abc import Mapping

STANDALONE = r"""
create /t
create /t/a hello
create /t/a again
create /t/none/x y
create /t/quoted "two words" world:anyone:cdrwa
create '/t/with space' 'it "is"'
create /t/empty ""
create /t/ünïcode grüße
create -s /t/seq- 1
create -s /t/seq-
create -e /t/eph gone
create /t/eph/child x
create -s -e /t/es-
create -es /t/es-
create -c /t/cont
create -t 100000 /t/ttl v
create -s -t 100000 /t/ttls- v
create -t100000 /t/ttl2
create -c -s /t/bad
create -c -e /t/bad
create -t x /t/bad
create -t 0 /t/bad
create -t 5 -e /t/bad
create -t 5 -c /t/bad
create -z /t/bad
create -t
create
create t
create /t/
create -s /t/number/
create /t//x
create /t/../x
create /t/./x
create /zookeeper
create /
create /t/acl1 x digest:bob:xyz:r,world:anyone:r
create /t/acl2 x nonsense
create /t/acl3 x world:anyone:rq
create /t/acl4 x ip:300.1.1.1:r
create /t/acl5 x auth::cdrwa
create -- /t/dash -x
get /t
get /t/a
get -s /t/a
get -b /t/a
get -x /t/a
get -x /t/empty
get -x /t
get -b /t
get -x /t/ünïcode
get '/t/with space'
get /t/empty
get /t/ünïcode
get -sb /t/a
get /t/none
get
get -q /t
get t
get /t/
get ""
get -w /t/none
get /t/a watch
get -- /t/a
get -s=1 /t/a
get --s /t/a
ls /
ls /t
ls -s /t
ls -R /t
ls -sR /t
ls -w /t/a
ls -?
ls -? /t/a
ls /t/none
ls -R /t/none
ls
ls t
ls /t/a watch
stat /t/a
stat -w /t/a
stat /t/none
stat -w /t/later
stat
stat /t/a watch
set /t/a changed
set /t/a again -s
set /t/a v0 -v 0
set -v 2 /t/a v3
set -b /t/a /wD+
get /t/a
get -x /t/a
get -b /t/a
set /t/none x
set /t/a
set
set /t/a ""
get /t/a
set /t/a 0123456789abcdef0123456789
get -x /t/a
create /t/later
delete /t/later
delete /t/none
delete /t
delete -v 77 /t/acl1
delete /t/acl1 3
delete
delete /zookeeper
delete /
create /t/tree
create /t/tree/a
create /t/tree/a/b
create /t/tree/c
deleteall /t/tree -b 2
deleteall /t/tree
deleteall
deleteall /t/none -b x
create /t/tree
create /t/tree/a
deleteall -b 0 /t/tree
getAcl /t/a
getAcl -s /t/acl1
getAcl /t/acl3
getAcl /t/none
getAcl
setAcl /t/a world:anyone:crwa
getAcl /t/a
setAcl -s /t/a world:anyone:cdrwa,digest:a:b:r,ip:10.0.0.1:w
getAcl /t/a
setAcl -v 0 /t/a world:anyone:r
setAcl /t/a bad
setAcl /t/a world:somebody:r
setAcl /t/a
setAcl /t/none world:anyone:r
create /t/acltree
create /t/acltree/x
setAcl -R /t/acltree world:anyone:cdra
getAcl /t/acltree/x
create /t/secret x world:anyone:a
get /t/secret
ls /t/secret
set /t/secret y
ls -R /t/secret
whoami
addauth digest bob:pw
whoami
create /t/mine x auth::cdrwa
getAcl /t/mine
addauth
sync /t
sync /t/none
sync
sync t
getEphemerals
getEphemerals /t/es
getEphemerals /nowhere
getAllChildrenNumber /t
getAllChildrenNumber /t/none
getAllChildrenNumber
create /t/q
create /t/q/in abc
setquota -n 5 /t/q
listquota /t/q
setquota -b 2 /t/q
setquota -N 1 /t/q
setquota -B 100 /t/q
listquota /t/q
setquota -n 5 /t/q/in
setquota -n 5 /t
setquota -n 0 /t/q
setquota -b -1 /t/q
setquota -n x /t/q
setquota -N 0 /t/q
setquota -n 5 /t/none
setquota -n 5 /zookeeper/quota/x
setquota -n 5 -b 6 /t/q
setquota /t/q
setquota -n 5
setquota
listquota /t/none
listquota
listquota /
delquota -n /t/q
listquota /t/q
delquota -b -N /t/q
delquota /t/q
listquota /t/q
delquota /t/q
delquota /t/none
delquota
ls -R /zookeeper
config
config -s
config -w
config -c
reconfig
reconfig -add server.2=h:1:2;3 -members server.2=h:1:2;3
reconfig -file x -members y
reconfig -file /nowhere -v 1
reconfig -v zz -add x
reconfig -remove 2
create /w
create /w/a
create /w/b
get -w /w/a
stat -w /w/a
ls -w /w
set /w/a x
create /w/c
stat -w /w/d
create /w/d
delete /w/d
addWatch /w/b
addWatch -m PERSISTENT /w/a
addWatch -m persistent /w
addWatch -m nonsense /w
addWatch
addWatch /w/b x
set /w/a y
set /w/b y
create /w/b/deep
delete /w/b/deep
get -w /w/a
removewatches /w/a -d
removewatches /w/a -d
removewatches /w/a -p
removewatches /w/b -r
removewatches /w/b
removewatches /w
removewatches /w -a
removewatches
removewatches /w/nothing -l
get -w /w/a
ls -w /w
addWatch -m PERSISTENT /w
removewatches /w/a
removewatches /w -c
removewatches /w -p
printwatches
printwatches off
printwatches
get -w /w/a
set /w/a unseen
printwatches on
printwatches sometimes
printwatches on
deleteall /w
rmr /t
ls2 /t
redo 99
redo -1
redo
deleteall /t
setAcl /t/secret world:anyone:cdrwa
setAcl /t/acl3 world:anyone:cdrwa
deleteall /t
ls -R /
"""
"""One session with a server that stands alone."""

SESSION = r"""
create /s x
history
redo 0
get /s
redo 3
redo 4
history
close
get /s
whoami
close
connect
get /s
create -e /s/e
connect
getEphemerals
delete /s
get /s
"""
"""One session that ends itself and begins anew; without marks between, because of `redo`."""

ENSEMBLE = r"""
config
config -c
config -s
reconfig -add server.2=127.0.0.1:1:2:observer;127.0.0.1:3
config -c
reconfig -v 1 -remove 2
reconfig -remove 2
reconfig -remove 9
reconfig -add nonsense
reconfig -members nonsense
reconfig -add server.3=127.0.0.1:4:5;127.0.0.1:6
reconfig -s -add server.4=127.0.0.1:7:8:observer
config -w
reconfig -remove 4
"""
"""One session with an ensemble of one."""

ONE_SHOTS = (
    ("get", "/none"),
    ("nosuch",),
    ("set", "/zookeeper/quota", "two words"),
    ("version",),
)
"""Commands of the command line, for exit codes."""
OFFLINE = (("nosuch",), ("version",))
"""Those that need no server: zkCli connects meanwhile, and is done before or after that."""

DIFFERENCES: Mapping[str, str] = {
    "redo -1": "what begins with a dash is an option in every command",
    "reconfig -file /nowhere -v 1": "the reason is told without the path a second time",
}
"""Lines where `kraal shell` says something else on purpose, and why."""
