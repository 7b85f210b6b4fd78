<?php

namespace Cachekit;

// PHP has instructions of its own for some of these, which shows with many records.
use function array_diff_key;
use function array_key_exists;
use function ceil;
use function count;
use function is_array;
use function is_float;
use function is_int;
use function is_string;
use function json_decode;
use function min;
use function str_replace;
use function strncmp;

/** Prime records, read from JSON lines; what is wrong with one is for the sender to say. */
final class Records
{
    const FIELDS = ['key', 'value', 'value_base64', 'ttl', 'expires_at', 'flags'];
    const FOR_LONG = 1 << 31;

    /** By key; of two records of one key, the later one counts. */
    public $values = [];
    /** Lifetimes in seconds by key, where 0 is for ever. */
    public $lifetimes = [];
    /** How many were read, and how many of them were over already. */
    public $found = 0;
    public $expired = 0;
    /** The first line that is no record, counted from 0. */
    public $bad = null;

    private $release;
    private $prefix;
    private $length;
    private $fields;

    /** With a token of a release, that is what `{release}` in keys means. */
    public function __construct(array $lines, string $prefix, string $release)
    {
        $this->release = $release;
        $this->prefix = $prefix;
        $this->length = strlen($prefix);
        $this->fields = array_flip(self::FIELDS);
        foreach ($lines as $number => $line) {
            $read = json_decode($line, true);
            if (is_array($read) ? !$this->takes($read) : trim($line) !== '') {
                $this->bad = $number;
                return;
            }
        }
    }

    /** Take a record; false if it is none. */
    private function takes(array $read): bool
    {
        $key = $read['key'] ?? null;
        if (!is_string($key) || $key === '' || !$this->hasItsFields($read)) {
            return false;
        }
        if ($this->release !== '') {
            $key = str_replace('{release}', $this->release, $key);
        }
        if (strncmp($key, $this->prefix, $this->length) !== 0) {
            return false;
        }
        $value = $read['value'] ?? null;
        if (isset($read['value_base64'])) {
            $encoded = $read['value_base64'];
            $value = is_string($encoded) ? base64_decode($encoded, true) : false;
            if ($value === false) {
                return false;
            }
        }
        return $this->keep($key, $value, $read['ttl'] ?? null, $read['expires_at'] ?? null);
    }

    /** Whether it has one value, and no field that nobody knows. */
    private function hasItsFields(array $read): bool
    {
        if (array_key_exists('value', $read) === isset($read['value_base64'])) {
            return false;
        }
        $usual = 2 + isset($read['ttl']) + isset($read['expires_at']) + isset($read['flags']);
        return count($read) === $usual || !array_diff_key($read, $this->fields);
    }

    private function keep(string $key, $value, $ttl, $expires_at): bool
    {
        $given = $ttl ?? $expires_at ?? 0;
        $is_number = is_int($given) || is_float($given);
        $is_endless = $ttl !== null && !$ttl; // what `ttl: 0` means differs between caches
        if (!$is_number || $given < 0 || $is_endless || ($ttl !== null && $expires_at !== null)) {
            return false;
        }
        $this->found++;
        $seconds = $expires_at === null ? $ttl : $expires_at - microtime(true);
        if ($seconds !== null && $seconds <= 0) {
            $this->expired++;
        } else {
            $this->values[$key] = $value;
            $this->lifetimes[$key] = (int) ceil(min(self::FOR_LONG, $seconds ?? 0));
        }
        return true;
    }
}
