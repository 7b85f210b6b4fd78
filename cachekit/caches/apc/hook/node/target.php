<?php

namespace Cachekit;

/** One pool: where it listens, and the script as it sees it. */
final class Target
{
    /** What the pool tells of itself: `pool`, `php`, and what `Master` goes by. */
    public $facts = [];
    private $address;
    private $script;
    private $path;

    public function __construct(string $address, Script $script)
    {
        $this->address = $address;
        $this->script = $script;
    }

    public function name(): string
    {
        return isset($this->facts['pool'])
            ? "{$this->facts['pool']} ({$this->address})"
            : $this->address;
    }

    /** Find a directory from which the pool runs the script, and learn who it is. */
    public function probe(array $parents, bool $may_be_chroot, float $end)
    {
        $reasons = [];
        foreach ($parents as $parent) {
            try {
                $file = $this->script->in($parent);
                $this->facts = $this->tried($may_be_chroot ? self::endings($file) : [$file], $end);
                return;
            } catch (Failure $failure) {
                if ($failure->kind !== 'unseen') {
                    throw $failure;
                }
                $reasons[$failure->getMessage()] = true;
            }
        }
        $all = implode('; ', array_keys($reasons));
        throw new Failure('refused', "the pool does not run the hook: $all");
    }

    /** A path, and what it is called inside of each directory that may be the pool's chroot. */
    private static function endings(string $file): array
    {
        $found = [$file];
        while (substr_count($file, '/') > 3) {
            $found[] = $file = substr($file, strpos($file, '/', 1));
        }
        return $found;
    }

    private function tried(array $paths, float $end): array
    {
        foreach ($paths as $path) {
            $this->path = $path;
            try {
                return $this->ask('{"op":"probe"}', $end);
            } catch (Failure $failure) {
                if ($failure->kind !== 'unseen') {
                    throw $failure;
                }
                $first = $first ?? $failure;
            }
        }
        throw $first;
    }

    public function ask(string $body, float $end): array
    {
        $reply = Request::send($this->address, $this->params(), $body, $end);
        $mark = MARK . $this->script->nonce . ' ';
        $at = strpos($reply['body'], $mark);
        if ($at === false) {
            throw $this->explained($reply);
        }
        if ($at > 0) {
            throw new Failure('unexpected', 'its worker printed something before the answer: ran'
                . ' auto_prepend_file, or did somebody leave settings in the worker by PHP_VALUE?'
                . ' Reload php-fpm');
        }
        $answer = json_decode(substr($reply['body'], strlen($mark)), true);
        if (!is_array($answer)) {
            throw new Failure('unexpected', 'its answer is cut off');
        }
        if (isset($answer['failure'])) {
            throw new Failure($answer['failure'][0], $answer['failure'][1]);
        }
        return $answer;
    }

    private function params(): array
    {
        return [
            'GATEWAY_INTERFACE' => 'CGI/1.1',
            'SERVER_PROTOCOL' => 'HTTP/1.1',
            'REQUEST_METHOD' => 'POST',
            'REQUEST_URI' => '/cachekit',
            'SCRIPT_FILENAME' => $this->path,
            'SCRIPT_NAME' => '/' . basename($this->path),
            'CONTENT_TYPE' => 'application/json',
            // A web server passes what its clients send as HTTP_...: they cannot set this one.
            'CACHEKIT_NONCE' => $this->script->nonce,
        ];
    }

    private function explained(array $reply): Failure
    {
        $said = $reply['stderr'] . ' ' . $reply['body'];
        $place = dirname($this->path);
        if (preg_match('/open_basedir|Operation not permitted/', $said)) {
            return new Failure('unseen', "open_basedir of the pool excludes $place; set `tmp` to a"
                . ' directory within it');
        }
        if (strpos($said, 'limit_extensions') !== false) {
            return new Failure('refused', 'security.limit_extensions of the pool excludes .php');
        }
        if ($reply['status'] === 403) {
            return new Failure('unseen', "the pool's user may not read $place");
        }
        if ($reply['status'] === 404) {
            return new Failure('unseen', "the pool does not see $place (chroot, PrivateTmp, or a"
                . ' directory closed to its user?); set `tmp` to a directory that it sees');
        }
        if ($reply['status'] >= 500) {
            return new Failure('unexpected', "PHP failed there ({$reply['status']}); its log says"
                . ' why: ' . substr($reply['stderr'], -300));
        }
        $start = substr(trim($said), 0, 200);
        return new Failure('unexpected', "it answers something else: $start");
    }
}
