<?php

namespace Cachekit;

/** Has files compiled by a master's pools; which ones is for the node to see. */
final class Compiler
{
    const FILES_AT_ONCE = 200;

    private $master;
    private $end;

    public function __construct(Master $master, float $end)
    {
        $this->master = $master;
        $this->end = $end;
    }

    /** Give the verdict on each file. */
    public function compile(string $path): array
    {
        $verdicts = $this->verdicts(self::listed($path), self::FILES_AT_ONCE);
        $fresh = self::judged('fresh', $verdicts);
        $wait = $fresh ? max(array_column($fresh, 1)) : 0;
        if ($fresh && microtime(true) + $wait < $this->end) {
            usleep($wait * 1000000);
            $verdicts = $this->verdicts(array_keys($fresh), self::FILES_AT_ONCE) + $verdicts;
        }
        // One that declares what another one did fails in the same request, not in its own.
        $failed = self::judged('failed', $verdicts);
        return ['files' => $this->verdicts(array_keys($failed), 1) + $verdicts];
    }

    private static function judged(string $kind, array $verdicts): array
    {
        return array_filter($verdicts, function ($verdict) use ($kind) {
            return $verdict[0] === $kind;
        });
    }

    private function verdicts(array $files, int $at_once): array
    {
        $verdicts = [];
        foreach (array_chunk(array_map('strval', $files), $at_once) as $chunk) {
            $encoded = array_map('base64_encode', $chunk);
            $answer = $this->master->ask(json(['op' => 'opcode.compile', 'files' => $encoded]));
            $verdicts += array_combine($chunk, $answer['verdicts']);
        }
        return $verdicts;
    }

    /** A directory's PHP files, one PHP file, or those that a list names, by their real paths. */
    private static function listed(string $path): array
    {
        $real = realpath($path);
        if ($real === false || !is_readable($real)) {
            throw new Failure('refused', "$path cannot be read on the node");
        }
        if (is_dir($real)) {
            $found = preg_grep('/\.php$/Di', filesBelow($real));
        } elseif (preg_match('/\.php$/Di', $real)) {
            $found = [$real];
        } else {
            $found = array_map(function ($line) {
                return realpath($line) ?: $line;
            }, array_filter(array_map('trim', file($real)), 'strlen'));
        }
        sort($found);
        return array_values(array_unique($found));
    }
}
