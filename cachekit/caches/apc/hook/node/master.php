<?php

namespace Cachekit;

/** The pools under one FPM master, which share both segments. */
final class Master
{
    /** Its pools that could not be asked, with the reason. */
    public $passed = [];
    private $targets;
    private $end;

    public function __construct(Target $first)
    {
        $this->targets = [$first];
    }

    public function pid(): int
    {
        return $this->targets[0]->facts['master'];
    }

    /** Add a pool, if it is one of this master's. */
    public function takes(Target $target): bool
    {
        foreach ($this->targets as $each) {
            foreach (['master', 'host', 'container', 'opcode', 'user'] as $fact) {
                list($here, $there) = [$each->facts[$fact], $target->facts[$fact]];
                if ($here !== null && $there !== null && $here !== $there) {
                    return false;
                }
            }
        }
        $this->targets[] = $target;
        return true;
    }

    public function run(array $steps, float $end): array
    {
        $this->end = $end;
        $done = [];
        $failure = null;
        try {
            foreach ($steps as $step) {
                $done[] = $answer = $this->step($step);
                if (isset($answer['bad'])) {
                    break; // Records of which one cannot be read: no more are stored.
                }
            }
        } catch (Failure $caught) {
            $failure = [$caught->kind, $caught->getMessage()];
        }
        return [
            'master' => $this->pid(),
            'passed' => $this->passed,
            'pools' => array_map(function ($target) {
                return ['name' => $target->name()] + $target->facts;
            }, $this->targets),
            'steps' => $done,
            'failure' => $failure,
        ];
    }

    private function step(array $step): array
    {
        switch ($step['do']) {
            case 'reset':
                return $this->reset();
            case 'compile':
                return (new Compiler($this, $this->end))->compile($step['body']);
            case 'drains':
                return ['drains' => $this->drains()];
            default:
                return $this->ask($step['body']);
        }
    }

    /** Have the first pool that is able to do it do it. */
    public function ask(string $body): array
    {
        $reasons = [];
        foreach ($this->targets as $number => $target) {
            $now = microtime(true);
            $share = ($this->end - $now) / (count($this->targets) - $number);
            try {
                $answer = $target->ask($body, $now + $share);
            } catch (Failure $failure) {
                $kind = $failure->kind;
                $reasons[] = "{$target->name()}: {$failure->getMessage()}";
                continue;
            }
            // It is asked first from now on.
            array_splice($this->targets, $number, 1);
            array_unshift($this->targets, $target);
            return $answer;
        }
        throw new Failure($kind, implode('; ', $reasons));
    }

    /**
     * Restart OPcache once, and see it happen: what opcache_reset() says is only that it will,
     * when no request that uses the memory runs. Asking about it is what lets it happen.
     */
    private function reset(): array
    {
        $lock = $this->lock();
        $before = $this->ask('{"op":"opcode.reset"}');
        for ($pause = 0.002; true; $pause = min(0.5, $pause * 2)) {
            try {
                $now = $this->ask('{"op":"opcode.state"}');
                if (self::hasRestarted($before, $now)) {
                    return ['before' => $before, 'now' => $now];
                }
            } catch (Failure $failure) {
                // A worker that was busy for too long; the next one may answer.
            }
            if (microtime(true) + $pause >= $this->end) {
                throw new Failure('refused', 'the restart of OPcache is pending, not done: a'
                    . ' request that runs since before holds it up; it will follow when that has'
                    . ' ended. Run it again then');
            }
            usleep((int) ($pause * 1e6));
        }
    }

    private static function hasRestarted(array $before, array $now): bool
    {
        if ($now['pending']) {
            return false;
        }
        $is_new = $now['restarts'] > $before['restarts'] || $now['start'] !== $before['start'];
        return $now['file_cache_only'] || ($now['enabled'] && $is_new);
    }

    /** One reset at a time; the directory of the master's process is there to be locked by all. */
    private function lock()
    {
        $handle = @fopen("/proc/{$this->pid()}", 'r');
        while ($handle && !flock($handle, LOCK_EX | LOCK_NB)) {
            if (microtime(true) >= $this->end) {
                throw new Failure('refused', 'another run clears it just now');
            }
            usleep(20000);
        }
        return $handle;
    }

    /** Whether a reload lets requests end: null if the configuration cannot be read. */
    private function drains()
    {
        $title = (string) @file_get_contents("/proc/{$this->pid()}/cmdline");
        if (!preg_match('~^php-fpm: master process \((/[^\0]+)\)~', $title, $match)) {
            return null;
        }
        $text = @file_get_contents($match[1]);
        if ($text === false) {
            return null;
        }
        preg_match_all('/^\s*include\s*=\s*(\S+)/m', $text, $includes);
        foreach (array_merge([], ...array_map('glob', $includes[1])) as $included) {
            $text .= "\n" . @file_get_contents($included);
        }
        return (bool) preg_match('/^\s*process_control_timeout\s*=\s*[1-9]/m', $text);
    }
}
