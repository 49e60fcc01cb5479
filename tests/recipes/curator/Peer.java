import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.locks.Revoker;
import org.apache.curator.retry.RetryOneTime;

/** Uses Curator as lines on standard input say: `verb name argument...`; answers `name result`. */
public class Peer {
    private interface Thing {
        boolean acquire(long ms) throws Exception;

        void release() throws Exception;
    }

    private final CuratorFramework client;
    private final Map<String, Thing> things = new HashMap<>();
    private final Map<String, ExecutorService> threads = new HashMap<>();

    private Peer(CuratorFramework client) {
        this.client = client;
    }

    public static void main(String[] args) throws Exception {
        try (CuratorFramework client = CuratorFrameworkFactory.newClient(args[0], new RetryOneTime(100))) {
            client.start();
            client.blockUntilConnected();
            new Peer(client).serve();
        }
        System.exit(0);
    }

    private void serve() throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("peer ready");
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            String name = words[1];
            // Curator's locks belong to threads: each of ours has one of its own.
            threads.computeIfAbsent(name, key -> Executors.newSingleThreadExecutor());
            threads.get(name).submit(() -> answer(name, () -> execute(words)));
        }
    }

    private void answer(String name, Callable<String> work) {
        String result;
        try {
            result = work.call();
        } catch (Exception error) {
            result = "error " + error;
        }
        synchronized (System.out) {
            System.out.println(name + " " + result);
        }
    }

    private String execute(String[] words) throws Exception {
        String verb = words[0];
        String name = words[1];
        switch (verb) {
            case "acquire":
                return things.get(name).acquire(Long.parseLong(words[2])) ? "yes" : "no";
            case "release":
                things.get(name).release();
                return "released";
            case "revoke":
                Revoker.attemptRevoke(client, words[2]);
                return "asked";
            default:
                things.put(name, make(verb, words));
                return "made";
        }
    }

    private Thing make(String verb, String[] words) throws Exception {
        String path = words[2];
        switch (verb) {
            case "mutex":
                return lock(new InterProcessMutex(client, path));
            case "revocable":
                InterProcessMutex mutex = new InterProcessMutex(client, path);
                String name = words[1];
                mutex.makeRevocable(it -> answer(name, () -> "revoked"));
                return lock(mutex);
            case "read":
                return lock(new InterProcessReadWriteLock(client, path).readLock());
            case "write":
                return lock(new InterProcessReadWriteLock(client, path).writeLock());
            case "semaphore":
                return semaphore(new InterProcessSemaphoreV2(client, path, Integer.parseInt(words[3])));
            case "latch":
                return latch(new LeaderLatch(client, path, words[1]));
            default:
                throw new IllegalArgumentException(verb);
        }
    }

    private static Thing lock(InterProcessLock lock) {
        return new Thing() {
            public boolean acquire(long ms) throws Exception {
                return lock.acquire(ms, TimeUnit.MILLISECONDS);
            }

            public void release() throws Exception {
                lock.release();
            }
        };
    }

    private static Thing semaphore(InterProcessSemaphoreV2 semaphore) {
        return new Thing() {
            private Lease lease;

            public boolean acquire(long ms) throws Exception {
                lease = semaphore.acquire(ms, TimeUnit.MILLISECONDS);
                return lease != null;
            }

            public void release() {
                semaphore.returnLease(lease);
            }
        };
    }

    private static Thing latch(LeaderLatch latch) {
        return new Thing() {
            private boolean started;

            public boolean acquire(long ms) throws Exception {
                if (!started) {
                    latch.start();
                    started = true;
                }
                return latch.await(ms, TimeUnit.MILLISECONDS);
            }

            public void release() throws Exception {
                latch.close();
            }
        };
    }
}
