<?php

namespace Cachekit;

/** What the node's half does: find the pools, run the steps at each master, tell in one line. */
final class Node
{
    const PARENTS = ['/run/cachekit', '/dev/shm', '/tmp'];

    private $job;
    private $steps;
    private $end;
    private $script;
    private $failures = [];

    public static function main(string $job, array $steps, string $gate, string $pool)
    {
        // Debian's PHP 7 has it in a module, which `-n` leaves out.
        extension_loaded('json') || dl('json.so');
        $job = json_decode($job, true);
        set_error_handler(function () {
            return true; // What matters is looked at where it may fail.
        });
        $node = new self($job, $steps, new Script($job['nonce'], $gate, $pool));
        $done = $node->run();
        $node->script->remove();
        $told = ['masters' => $done, 'failures' => $node->failures, 'notes' => $node->notes()];
        echo "\n", MARK, $job['nonce'], ' ', json($told), "\n";
    }

    private function __construct(array $job, array $steps, Script $script)
    {
        $this->job = $job;
        $this->steps = $steps;
        $this->end = microtime(true) + $job['seconds'];
        $this->script = $script;
    }

    private function run(): array
    {
        $done = [];
        try {
            $masters = $this->masters(Sockets::chosen($this->job['sockets'], $this->failures));
            $left = count($masters);
            foreach ($masters as $master) {
                $done[] = $master->run($this->steps, $this->share($left--));
            }
        } catch (Failure $failure) {
            $this->failures[] = ['', $failure->kind, $failure->getMessage()];
        } catch (\Throwable $error) {
            $why = "the hook failed at {$error->getLine()}: {$error->getMessage()}";
            $this->failures[] = ['', 'unexpected', $why];
        }
        return $done;
    }

    /** What was found beside the pools, where they were not named. */
    private function notes(): array
    {
        return $this->job['sockets'] ? [] : Sockets::modPhp();
    }

    /** When one of several must have ended, so that one that is stuck leaves time to the others. */
    private function share(int $of): float
    {
        $now = microtime(true);
        return $now + ($this->end - $now) / $of;
    }

    private function masters(array $sockets): array
    {
        $masters = $failed = [];
        $left = count($sockets) + 1; // The work itself wants its share of the time, too.
        foreach ($sockets as $socket) {
            $target = new Target($socket, $this->script);
            try {
                $target->probe($this->parents(), $this->job['tmp'] !== null, $this->share($left--));
                self::assign($target, $masters);
            } catch (Failure $failure) {
                $failed[] = [$socket, $failure->kind, $failure->getMessage()];
            }
        }
        $this->passOver($failed, $masters);
        return $masters;
    }

    private function parents(): array
    {
        $tmp = $this->job['tmp'];
        return $tmp !== null ? [$tmp] : array_filter(self::PARENTS, 'is_dir');
    }

    private static function assign(Target $target, array &$masters)
    {
        foreach ($masters as $master) {
            if ($master->takes($target)) {
                return;
            }
        }
        $masters[] = new Master($target);
    }

    /** A pool that cannot be asked does no harm where another one of its master can. */
    private function passOver(array $failed, array $masters)
    {
        $owners = $failed ? Sockets::owners() : [];
        foreach ($failed as $failure) {
            $owner = $owners[realpath($failure[0]) ?: $failure[0]] ?? null;
            $siblings = array_filter($masters, function ($master) use ($owner) {
                return $master->pid() === $owner;
            });
            foreach ($siblings as $master) {
                $master->passed[] = "$failure[0]: $failure[2]";
            }
            if (!$siblings) {
                $this->failures[] = $failure;
            }
        }
    }
}
