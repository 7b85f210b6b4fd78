<?php
// One file, two halves. The node's half is piped to `php -n` after a line that sets
// $cachekit_job (what to do) and $cachekit_source (this file). It writes the file to a directory of
// its own, has each FPM pool run it over FastCGI, and removes it again. The pool's half sees the
// memory that the pools of one FPM master share, which the command line does not.
// Written for PHP 7.0 and later. Never send PHP_VALUE: it sticks to the worker that gets it.

const CACHEKIT_MARK = 'CACHEKIT1 ';

final class CachekitFailure extends Exception
{
    public $kind;

    public function __construct(string $kind, string $message)
    {
        parent::__construct($message);
        $this->kind = $kind;
    }
}

function cachekit_json($value): string
{
    $substitute = defined('JSON_INVALID_UTF8_SUBSTITUTE') ? JSON_INVALID_UTF8_SUBSTITUTE : 0;
    return json_encode($value, $substitute | JSON_PARTIAL_OUTPUT_ON_ERROR | JSON_UNESCAPED_SLASHES);
}

// The node's half ---------------------------------------------------------------------------------

/** One FastCGI request over a connection of its own. */
final class CachekitRequest
{
    const BEGIN = 1, END = 3, PARAMS = 4, STDIN = 5, STDOUT = 6, STDERR = 7;

    private $stream;
    private $end;
    private $out = ['', ''];

    public static function send(string $address, string $script, string $nonce, string $body, float $end): array
    {
        $request = new self();
        $request->end = $end;
        $request->connect($address);
        $request->write(self::encoded($script, $nonce, $body));
        $ended = $request->read();
        fclose($request->stream);
        if (!$ended) {
            throw new CachekitFailure('unreachable', 'the connection was closed before the answer: the worker was'
                . ' killed (request_terminate_timeout?), or listen.allowed_clients excludes this machine');
        }
        return self::parsed($request->out);
    }

    private function connect(string $address)
    {
        $uri = $address[0] === '/' ? "unix://$address" : "tcp://$address";
        $seconds = max(0.01, min(5.0, $this->end - microtime(true)));
        $stream = @stream_socket_client($uri, $number, $cause, $seconds);
        if (!$stream) {
            $advice = [
                13 => '; connect as a member of its group (listen.group) or as root',
                2 => '; correct `sockets`, or start php-fpm',
                111 => '; is php-fpm running there?',
                11 => '; all its workers are busy',
            ];
            throw new CachekitFailure('unreachable', ($cause ?: 'no answer') . ($advice[$number] ?? ''));
        }
        stream_set_blocking($stream, false);
        $this->stream = $stream;
    }

    private function wait(bool $for_writing)
    {
        $streams = [$this->stream];
        $none = null;
        $seconds = $this->end - microtime(true);
        $whole = (int) $seconds;
        $found = $seconds <= 0 ? 0 : ($for_writing
            ? @stream_select($none, $streams, $none, $whole, (int) (($seconds - $whole) * 1e6))
            : @stream_select($streams, $none, $none, $whole, (int) (($seconds - $whole) * 1e6)));
        if ($found === 0) {
            fclose($this->stream);
            throw new CachekitFailure('unreachable', 'no answer in time: all workers of the pool are busy or stuck;'
                . ' raise pm.max_children or the timeout of the step');
        }
    }

    private function write(string $bytes)
    {
        for ($sent = 0; $sent < strlen($bytes); $sent += $written) {
            $this->wait(true);
            $written = @fwrite($this->stream, substr($bytes, $sent, 65536));
            if ($written === false || ($written === 0 && feof($this->stream))) {
                return; // FPM may answer with an error before it has read everything.
            }
        }
    }

    private function read(): bool
    {
        $buffer = '';
        while (true) {
            $this->wait(false);
            $bytes = @fread($this->stream, 65536);
            if (($bytes === '' || $bytes === false) && feof($this->stream)) {
                return false;
            }
            $buffer .= $bytes;
            if ($this->take($buffer)) {
                return true;
            }
        }
    }

    /** Take whole records off the buffer; say whether the last one of the answer was there. */
    private function take(string &$buffer): bool
    {
        for ($at = 0; strlen($buffer) - $at >= 8; $at += 8 + $head['length'] + $head['padding']) {
            $head = unpack('Cversion/Ctype/nid/nlength/Cpadding', substr($buffer, $at, 7));
            if ($head['version'] !== 1) {
                throw new CachekitFailure('unexpected', 'what listens there does not speak FastCGI');
            }
            if (strlen($buffer) - $at < 8 + $head['length'] + $head['padding']) {
                break;
            }
            if ($head['type'] === self::END) {
                return true;
            }
            if ($head['type'] === self::STDOUT || $head['type'] === self::STDERR) {
                $this->out[$head['type'] - self::STDOUT] .= substr($buffer, $at + 8, $head['length']);
            }
        }
        $buffer = (string) substr($buffer, $at);
        return false;
    }

    private static function encoded(string $script, string $nonce, string $body): string
    {
        $params = '';
        foreach ([
            'GATEWAY_INTERFACE' => 'CGI/1.1', 'SERVER_PROTOCOL' => 'HTTP/1.1', 'REQUEST_METHOD' => 'POST',
            'SCRIPT_FILENAME' => $script, 'SCRIPT_NAME' => '/' . basename($script), 'REQUEST_URI' => '/cachekit',
            'CONTENT_TYPE' => 'application/json', 'CONTENT_LENGTH' => (string) strlen($body),
            'CACHEKIT_NONCE' => $nonce,
        ] as $name => $value) {
            $params .= pack('NN', strlen($name) | 0x80000000, strlen($value) | 0x80000000) . $name . $value;
        }
        $bytes = self::record(self::BEGIN, pack('nCx5', 1, 0)) . self::record(self::PARAMS, $params)
            . self::record(self::PARAMS, '');
        for ($at = 0; $at < strlen($body); $at += 65528) {
            $bytes .= self::record(self::STDIN, substr($body, $at, 65528));
        }
        return $bytes . self::record(self::STDIN, '');
    }

    private static function record(int $type, string $content): string
    {
        return pack('CCnnxx', 1, $type, 1, strlen($content)) . $content;
    }

    private static function parsed(array $out): array
    {
        $parts = preg_split('/\r?\n\r?\n/', $out[0], 2);
        $status = preg_match('/^Status: (\d{3})/mi', $parts[0], $match) ? (int) $match[1] : 200;
        return ['status' => $status, 'body' => $parts[1] ?? '', 'stderr' => trim($out[1])];
    }
}

/** This file where pools can read it: each copy in a directory of its own, removed at the end. */
final class CachekitScript
{
    const STALE_SECONDS = 600;

    public $nonce;
    private $source;
    private $written = [];

    public function __construct(string $source, string $nonce)
    {
        $this->source = $source;
        $this->nonce = $nonce;
        umask(0022);
        register_shutdown_function([$this, 'remove']);
        if (function_exists('pcntl_async_signals')) {
            pcntl_async_signals(true);
            foreach ([SIGHUP, SIGINT, SIGTERM, SIGPIPE] as $signal) {
                pcntl_signal($signal, function () {
                    exit(1);
                });
            }
        }
    }

    /** Write it below a directory, unless that is done, and return its path. */
    public function in(string $parent): string
    {
        $directory = "$parent/cachekit-{$this->nonce}";
        $file = "$directory/{$this->nonce}.php";
        if (isset($this->written[$directory])) {
            touch($directory); // Not stale while it is used.
            return $file;
        }
        $this->check($parent);
        $this->sweep($parent);
        if (!@mkdir($directory, 0711)) {
            throw new CachekitFailure('refused', "$parent cannot be written");
        }
        $this->written[$directory] = $file;
        $handle = @fopen($file, 'x');
        if (!$handle || fwrite($handle, $this->source) !== strlen($this->source) || !fclose($handle)) {
            throw new CachekitFailure('refused', "$parent cannot be written");
        }
        // From the future, or OPcache might keep it: for ever, where timestamps are not validated.
        touch($file, time() + 86400);
        return $file;
    }

    private function check(string $parent)
    {
        $mode = @fileperms($parent);
        if ($mode === false || !is_dir($parent)) {
            throw new CachekitFailure('refused', "$parent is no directory on the node");
        }
        if ($mode & 0022 && !($mode & 01000)) {
            throw new CachekitFailure('refused', "$parent can be written by others, who could put their own code"
                . ' there; take that right away, or set the sticky bit');
        }
    }

    /** Remove what runs that were killed left there. */
    private function sweep(string $parent)
    {
        foreach (glob("$parent/cachekit-*", GLOB_ONLYDIR | GLOB_NOSORT) ?: [] as $directory) {
            $name = substr(basename($directory), strlen('cachekit-'));
            $status = @lstat($directory);
            $ours = $status && $status['uid'] === lstat('/proc/self')['uid'] && !is_link($directory);
            if ($ours && preg_match('/^[0-9a-f]{32}$/D', $name) && $status['mtime'] < time() - self::STALE_SECONDS) {
                @unlink("$directory/$name.php");
                @rmdir($directory);
            }
        }
    }

    public function remove()
    {
        foreach ($this->written as $directory => $file) {
            @unlink($file);
            @rmdir($directory);
        }
        $this->written = [];
    }
}

/** Where FPM pools listen on this machine. */
final class CachekitSockets
{
    const LISTENING = '0A';

    public static function chosen(array $written, array &$failures): array
    {
        if (!$written) {
            return self::discovered();
        }
        $found = [];
        foreach ($written as $each) {
            $sockets = $each[0] === '/' ? (glob($each, GLOB_NOSORT) ?: []) : [$each];
            if (!$sockets) {
                $failures[] = [$each, 'unreachable', 'no such socket there; correct `sockets`, or start php-fpm'
                    . self::modPhp()];
            }
            sort($sockets);
            $found = array_merge($found, $sockets);
        }
        return array_values(array_unique($found));
    }

    private static function discovered(): array
    {
        // What to go by where the descriptors of root's processes cannot be seen.
        $found = array_keys(self::owners()) ?: preg_grep('~^/.*(fpm|php)[^/]*\.sock$~', self::listening());
        if (!$found) {
            throw new CachekitFailure('unreachable', 'no php-fpm found listening on the node; start it, or name its'
                . ' `sockets`' . self::modPhp());
        }
        sort($found);
        return array_values(array_unique($found));
    }

    /** The FPM master that listens at each address, as far as that can be seen. */
    public static function owners(): array
    {
        $listening = self::listening();
        $found = [];
        foreach (self::processes('/^php-fpm: master process/') as $directory) {
            foreach (glob("$directory/fd/*", GLOB_NOSORT) ?: [] as $descriptor) {
                preg_match('/^socket:\[(\d+)\]$/', (string) @readlink($descriptor), $match);
                if ($address = $listening[$match[1] ?? ''] ?? '') {
                    $found[$address] = (int) basename($directory);
                }
            }
        }
        return $found;
    }

    /** Whether a reload lets requests end: null if the configuration cannot be read. */
    public static function drains(int $master)
    {
        $title = (string) @file_get_contents("/proc/$master/cmdline");
        if (!preg_match('~^php-fpm: master process \((/[^\0]+)\)~', $title, $match) || !is_readable($match[1])) {
            return null;
        }
        $text = file_get_contents($match[1]);
        preg_match_all('/^\s*include\s*=\s*(\S+)/m', $text, $includes);
        foreach ($includes[1] as $pattern) {
            $text .= implode("\n", array_map('file_get_contents', glob($pattern) ?: []));
        }
        return (bool) preg_match('/^\s*process_control_timeout\s*=\s*[1-9]/m', $text);
    }

    /** The addresses of listening stream sockets by inode. */
    private static function listening(): array
    {
        $found = [];
        foreach (@file('/proc/net/unix') ?: [] as $line) {
            if (preg_match('~^\S+ \S+ \S+ 00010000 0001 01 +(\d+) (/.*)$~', rtrim($line, "\n"), $match)) {
                $found[$match[1]] = $match[2];
            }
        }
        foreach (['/proc/net/tcp', '/proc/net/tcp6'] as $table) {
            foreach (@file($table) ?: [] as $line) {
                $fields = preg_split('/ +/', trim($line));
                if (($fields[3] ?? '') === self::LISTENING) {
                    $found[$fields[9]] = self::address($fields[1]);
                }
            }
        }
        return $found;
    }

    /** `0100007F:2328` is 127.0.0.1:9000; every fourth byte begins a number of the machine's order. */
    private static function address(string $written): string
    {
        list($host, $port) = explode(':', $written);
        $words = array_map(function ($word) {
            return pack('V', hexdec($word));
        }, str_split($host, 8));
        $host = inet_ntop(implode('', $words));
        $host = ['0.0.0.0' => '127.0.0.1', '::' => '::1'][$host] ?? $host;
        return (strpos($host, ':') === false ? $host : "[$host]") . ':' . hexdec($port);
    }

    private static function processes(string $title): array
    {
        return array_filter(glob('/proc/[0-9]*', GLOB_NOSORT) ?: [], function ($directory) use ($title) {
            return preg_match($title, (string) @file_get_contents("$directory/cmdline"));
        });
    }

    private static function modPhp(): string
    {
        $loaded = glob('/etc/apache2/mods-enabled/php*.load') ?: [];
        foreach (self::processes('~^[^\0]*(apache2|httpd)~') as $directory) {
            $maps = (string) @file_get_contents("$directory/maps");
            if ($loaded || preg_match('~/(lib|mod_)php[^/]*\.so~', $maps)) {
                return '. Here PHP runs inside Apache (mod_php), whose memory only its own processes reach: clear it by'
                    . ' a graceful restart, for example as `clear_command`';
            }
        }
        return '';
    }
}

/** One pool: an address, and the script as the pool sees it. */
final class CachekitTarget
{
    public $address;
    public $facts = [];
    private $script;
    private $path;

    public function __construct(string $address, CachekitScript $script)
    {
        $this->address = $address;
        $this->script = $script;
    }

    public function name(): string
    {
        return ($this->facts['pool'] ?? '?') . " ({$this->address})";
    }

    /** Find a directory from which the pool runs the script, and learn who it is. */
    public function probe(array $parents, bool $chosen, float $end)
    {
        $reasons = [];
        foreach ($parents as $parent) {
            try {
                $file = $this->script->in($parent);
            } catch (CachekitFailure $failure) {
                $reasons[$failure->getMessage()] = true;
                continue;
            }
            foreach ($chosen ? self::endings($file) : [$file] as $this->path) {
                try {
                    $this->facts = $this->ask('{"op":"probe"}', $end);
                    return;
                } catch (CachekitFailure $failure) {
                    if ($failure->kind !== 'unseen') {
                        throw $failure;
                    }
                    $reasons[$failure->getMessage()] = true;
                }
            }
        }
        throw new CachekitFailure('refused', 'the pool does not run the hook: ' . implode('; ', array_keys($reasons)));
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

    public function ask(string $body, float $end): array
    {
        $reply = CachekitRequest::send($this->address, $this->path, $this->script->nonce, $body, $end);
        $mark = CACHEKIT_MARK . $this->script->nonce . ' ';
        $at = strpos($reply['body'], $mark);
        if ($at === false) {
            throw $this->explained($reply);
        }
        if ($at > 0) {
            throw new CachekitFailure('unexpected', 'its worker printed something before the answer: ran'
                . ' auto_prepend_file, or somebody left settings in the worker by PHP_VALUE? Reload php-fpm');
        }
        $answer = json_decode(substr($reply['body'], strlen($mark)), true);
        if (!is_array($answer)) {
            throw new CachekitFailure('unexpected', 'its answer is cut off');
        }
        if (isset($answer['failure'])) {
            throw new CachekitFailure($answer['failure'][0], $answer['failure'][1]);
        }
        return $answer;
    }

    private function explained(array $reply): CachekitFailure
    {
        $said = $reply['stderr'] . ' ' . $reply['body'];
        $directory = dirname($this->path);
        if (strpos($said, 'open_basedir') !== false || strpos($said, 'Operation not permitted') !== false) {
            return new CachekitFailure('unseen', "open_basedir of the pool excludes $directory; set `tmp` to a directory"
                . ' within it');
        }
        if (strpos($said, 'limit_extensions') !== false) {
            return new CachekitFailure('refused', 'security.limit_extensions of the pool excludes .php');
        }
        if ($reply['status'] === 403) {
            return new CachekitFailure('unseen', "the pool's user may not read $directory");
        }
        if ($reply['status'] === 404) {
            return new CachekitFailure('unseen', "the pool does not see $directory (chroot, PrivateTmp, or a directory"
                . ' closed to its user?); set `tmp` to a directory that it sees');
        }
        if ($reply['status'] >= 500) {
            return new CachekitFailure('unexpected', "PHP failed there ({$reply['status']}); its log says why: "
                . substr($reply['stderr'], -300));
        }
        return new CachekitFailure('unexpected', 'it answers something else: ' . substr(trim($said), 0, 200));
    }
}

/** The pools under one FPM master, which share both segments. */
final class CachekitMaster
{
    const COMPILE_FILES = 200;

    public $targets = [];
    public $passed = [];
    private $end;

    public function takes(CachekitTarget $target): bool
    {
        foreach ($this->targets as $each) {
            foreach (['master', 'opcode', 'user'] as $fact) {
                $here = $each->facts[$fact];
                $there = $target->facts[$fact];
                if ($here !== $there && ($fact === 'master' || ($here !== null && $there !== null))) {
                    return false;
                }
            }
        }
        return true;
    }

    public function run(array $steps, float $end): array
    {
        $this->end = $end;
        $done = [];
        $failure = null;
        try {
            foreach ($steps as $step) {
                $done[] = $this->step($step);
            }
        } catch (CachekitFailure $caught) {
            $failure = [$caught->kind, $caught->getMessage()];
        }
        return [
            'master' => $this->targets[0]->facts['master'],
            'drains' => CachekitSockets::drains($this->targets[0]->facts['master']),
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
                return $this->compile($step['path']);
            default:
                return $this->ask($step['body']);
        }
    }

    /** Have the first pool that is able to do it do it. */
    private function ask(string $body): array
    {
        $reasons = [];
        $kind = 'refused';
        foreach ($this->targets as $number => $target) {
            $share = (($this->end - microtime(true)) / (count($this->targets) - count($reasons)));
            try {
                $answer = $target->ask($body, microtime(true) + $share);
            } catch (CachekitFailure $failure) {
                $kind = $failure->kind;
                $reasons[] = "{$target->name()}: {$failure->getMessage()}";
                continue;
            }
            unset($this->targets[$number]);
            array_unshift($this->targets, $target);
            return $answer;
        }
        throw new CachekitFailure($kind, implode('; ', $reasons));
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
            } catch (CachekitFailure $failure) {
                $now = null;
            }
            if ($now && !$now['pending'] && ($now['file_cache_only'] || ($now['enabled']
                && ($now['restarts'] > $before['restarts'] || $now['start'] !== $before['start'])))) {
                return ['before' => $before, 'now' => $now];
            }
            if (microtime(true) + $pause >= $this->end) {
                throw new CachekitFailure('refused', 'the restart of OPcache is pending, not done: a request that runs'
                    . ' since before holds it up; it will follow when that has ended. Run it again then');
            }
            usleep((int) ($pause * 1e6));
        }
    }

    /** One reset at a time; the directory of the master's process is there to be locked by all. */
    private function lock()
    {
        $handle = @fopen("/proc/{$this->targets[0]->facts['master']}", 'r');
        while ($handle && !flock($handle, LOCK_EX | LOCK_NB)) {
            if (microtime(true) >= $this->end) {
                throw new CachekitFailure('refused', 'another run clears it just now');
            }
            usleep(20000);
        }
        return $handle;
    }

    private function compile(string $path): array
    {
        $verdicts = $this->compiled(self::listed($path), self::COMPILE_FILES);
        $fresh = array_keys(array_filter($verdicts, function ($verdict) {
            return $verdict[0] === 'fresh';
        }));
        $wait = $fresh ? max(array_column(array_intersect_key($verdicts, array_flip($fresh)), 1)) : 0;
        if ($fresh && microtime(true) + $wait < $this->end) {
            usleep((int) ($wait * 1e6));
            $verdicts = $this->compiled($fresh, self::COMPILE_FILES) + $verdicts;
        }
        $failed = array_keys(array_filter($verdicts, function ($verdict) {
            return $verdict[0] === 'failed';
        }));
        // One that declares what another one did fails in the same request, not in its own.
        return ['files' => $this->compiled($failed, 1) + $verdicts];
    }

    private function compiled(array $files, int $at_once): array
    {
        $verdicts = [];
        foreach (array_chunk(array_map('strval', $files), $at_once) as $chunk) {
            $encoded = array_map('base64_encode', $chunk);
            $answer = $this->ask(cachekit_json(['op' => 'opcode.compile', 'files' => $encoded]));
            $verdicts += array_combine($chunk, $answer['verdicts']);
        }
        return $verdicts;
    }

    /** A directory's PHP files, one PHP file, or those that a list names, by their real paths. */
    private static function listed(string $path): array
    {
        $real = realpath($path);
        if ($real === false || !is_readable($real)) {
            throw new CachekitFailure('refused', "$path cannot be read on the node");
        }
        if (is_dir($real)) {
            $tree = new RecursiveIteratorIterator(
                new RecursiveDirectoryIterator($real, FilesystemIterator::SKIP_DOTS),
                RecursiveIteratorIterator::LEAVES_ONLY,
                RecursiveIteratorIterator::CATCH_GET_CHILD
            );
            $found = array_map('strval', array_keys(iterator_to_array($tree)));
            $found = preg_grep('/\.php$/Di', $found);
        } elseif (preg_match('/\.php$/Di', $real)) {
            $found = [$real];
        } else {
            $found = array_filter(array_map('trim', file($real)), 'strlen');
            $found = array_map(function ($file) {
                return realpath($file) ?: $file;
            }, $found);
        }
        sort($found);
        return array_values(array_unique($found));
    }
}

final class CachekitNode
{
    public static function main(array $job, string $source)
    {
        set_error_handler(function () {
            return true; // What matters is looked at where it may fail.
        });
        $end = microtime(true) + $job['seconds'];
        $script = new CachekitScript($source, $job['nonce']);
        $failures = $done = [];
        try {
            $sockets = CachekitSockets::chosen($job['sockets'], $failures);
            $masters = self::masters($sockets, $script, $job, $end, $failures);
            $left = count($masters);
            foreach ($masters as $master) {
                $now = microtime(true);
                $done[] = $master->run($job['steps'], $now + ($end - $now) / $left--);
            }
        } catch (CachekitFailure $failure) {
            $failures[] = ['', $failure->kind, $failure->getMessage()];
        } catch (Throwable $error) {
            $failures[] = ['', 'unexpected', "the hook failed at {$error->getLine()}: {$error->getMessage()}"];
        }
        $script->remove();
        echo "\n", CACHEKIT_MARK, $job['nonce'], ' ';
        echo cachekit_json(['masters' => $done, 'failures' => $failures]), "\n";
    }

    private static function masters(array $sockets, CachekitScript $script, array $job, float $end, array &$failures): array
    {
        $parents = $job['tmp'] !== null ? [$job['tmp']] : array_filter(['/run/cachekit', '/dev/shm', '/tmp'], 'is_dir');
        $masters = $failed = [];
        $left = count($sockets) + 1; // The work itself wants its share of the time, too.
        foreach ($sockets as $socket) {
            $now = microtime(true);
            $target = new CachekitTarget($socket, $script);
            try {
                $target->probe($parents, $job['tmp'] !== null, $now + ($end - $now) / $left--);
            } catch (CachekitFailure $failure) {
                $failed[] = [$socket, $failure->kind, $failure->getMessage()];
                continue;
            }
            foreach ($masters as $master) {
                if ($master->takes($target)) {
                    $master->targets[] = $target;
                    continue 2;
                }
            }
            $masters[] = $master = new CachekitMaster();
            $master->targets[] = $target;
        }
        self::passOver($failed, $masters, $failures);
        return $masters;
    }

    /** A pool that cannot be asked does no harm where another one of its master can. */
    private static function passOver(array $failed, array $masters, array &$failures)
    {
        $owners = $failed ? CachekitSockets::owners() : [];
        foreach ($failed as $failure) {
            $owner = $owners[realpath($failure[0]) ?: $failure[0]] ?? null;
            foreach ($masters as $master) {
                if ($master->targets[0]->facts['master'] === $owner) {
                    $master->passed[] = "$failure[0]: $failure[2]";
                    continue 2;
                }
            }
            $failures[] = $failure;
        }
    }
}

// The pool's half ---------------------------------------------------------------------------------

final class CachekitPool
{
    private static $warning = '';

    public static function main()
    {
        $nonce = basename(__FILE__, '.php');
        // A web server passes what its clients send as HTTP_...: nobody sets this one from outside.
        if (!hash_equals($nonce, (string) ($_SERVER['CACHEKIT_NONCE'] ?? ''))) {
            http_response_code(404);
            return;
        }
        set_error_handler(function ($level, $message) {
            self::$warning = $message;
            return true;
        });
        // Of this request alone, unlike what PHP_VALUE sets; a list of all scripts may be long.
        foreach (['memory_limit' => '-1', 'max_execution_time' => '0'] as $name => $value) {
            function_exists('ini_set') && ini_set($name, $value);
        }
        try {
            $answer = self::answer(json_decode(file_get_contents('php://input'), true, 4096));
        } catch (CachekitFailure $failure) {
            $answer = ['failure' => [$failure->kind, $failure->getMessage()]];
        } catch (Throwable $error) {
            $answer = ['failure' => ['unexpected', get_class($error) . ': ' . $error->getMessage()]];
        }
        header('Content-Type: application/json');
        echo CACHEKIT_MARK, $nonce, ' ', cachekit_json($answer);
        if (CachekitOpcode::trouble() === '' && opcache_is_script_cached(__FILE__)) {
            opcache_invalidate(__FILE__, true);
        }
    }

    private static function answer($asked): array
    {
        if (!is_array($asked)) {
            throw new CachekitFailure('unexpected', 'what was sent did not arrive as it was');
        }
        switch ($asked['op']) {
            case 'probe':
                return self::facts();
            case 'opcode.state':
                return CachekitOpcode::able()->state();
            case 'opcode.count':
                return CachekitOpcode::able()->count(self::decoded($asked['paths']));
            case 'opcode.reset':
                return CachekitOpcode::able()->reset();
            case 'opcode.invalidate':
                return CachekitOpcode::able()->invalidate(self::decoded($asked['paths']));
            case 'opcode.compile':
                return CachekitOpcode::able()->compile(self::decoded($asked['files']));
            case 'user.state':
                return CachekitUser::able()->state();
            case 'user.count':
                return CachekitUser::able()->count($asked);
            case 'user.clear':
                return CachekitUser::able()->clear();
            case 'user.delete':
                return CachekitUser::able()->delete($asked);
            case 'user.store':
                return CachekitUser::able()->store($asked['records'], $asked['force']);
            case 'user.exists':
                return CachekitUser::able()->exist($asked['keys']);
        }
        throw new CachekitFailure('unexpected', 'it does not know what was asked');
    }

    public static function decoded(array $encoded): array
    {
        return array_map('base64_decode', $encoded);
    }

    public static function warning(): string
    {
        list($warning, self::$warning) = [self::$warning, ''];
        return $warning;
    }

    private static function facts(): array
    {
        $fpm = function_exists('fpm_get_status') ? fpm_get_status() : [];
        $opcode = CachekitOpcode::trouble() === '' ? opcache_get_status(false)['opcache_statistics']['start_time'] ?? null : null;
        $user = CachekitUser::trouble() === '' ? apcu_cache_info(true)['start_time'] : null;
        return [
            'pool' => $fpm['pool'] ?? '?', 'master' => self::master(), 'php' => PHP_VERSION,
            'opcode' => $opcode, 'user' => $user,
        ];
    }

    private static function master(): int
    {
        if (function_exists('posix_getppid')) {
            return posix_getppid();
        }
        $status = @file_get_contents('/proc/self/stat');
        $fields = explode(' ', substr((string) strrchr((string) $status, ')'), 2));
        return (int) ($fields[1] ?? -getmypid());
    }
}

/** OPcache, as a pool has it. */
final class CachekitOpcode
{
    public static function able(): self
    {
        if ($trouble = self::trouble()) {
            throw new CachekitFailure('refused', $trouble);
        }
        return new self();
    }

    public static function trouble(): string
    {
        if (!extension_loaded('Zend OPcache')) {
            return 'OPcache is not loaded in this pool; load it, or set `segments: user`';
        }
        if (!ini_get('opcache.enable')) {
            return 'OPcache is off in this pool (opcache.enable=0); turn it on, or set `segments: user`';
        }
        foreach (['get_status', 'reset', 'invalidate', 'compile_file', 'is_script_cached'] as $name) {
            if (!function_exists("opcache_$name")) {
                return "disable_functions of the pool names opcache_$name; allow it, or name a pool of the same master"
                    . ' where it is allowed';
            }
        }
        $only = (string) ini_get('opcache.restrict_api');
        if ($only !== '' && strpos(__FILE__, $only) !== 0) {
            return "opcache.restrict_api of the pool is $only; set `tmp` to a directory below it, or name a pool of the"
                . ' same master without it';
        }
        $status = opcache_get_status(false);
        if (!$status) {
            return 'OPcache gives no status (' . (CachekitPool::warning() ?: 'it could not start') . ')';
        }
        $on = $status['opcache_enabled'] || !empty($status['restart_pending']) || !empty($status['file_cache_only']);
        return $on ? '' : "OPcache is loaded, but off; the log of php-fpm says why";
    }

    public function state(): array
    {
        $status = opcache_get_status(false);
        $memory = $status['memory_usage'] ?? [];
        $counts = $status['opcache_statistics'] ?? [];
        $restarts = array_sum(array_intersect_key($counts, array_flip(
            ['manual_restarts', 'oom_restarts', 'hash_restarts']
        )));
        return [
            'enabled' => $status['opcache_enabled'],
            'pending' => !empty($status['restart_pending']) || !empty($status['restart_in_progress']),
            'start' => $counts['start_time'] ?? null,
            'restarts' => $restarts,
            'full_restarts' => $restarts - ($counts['manual_restarts'] ?? 0),
            'items' => $counts['num_cached_scripts'] ?? null,
            'size' => isset($memory['used_memory']) ? $memory['used_memory'] + $memory['wasted_memory'] : null,
            'wasted' => $memory['wasted_memory'] ?? null,
            'capacity' => $memory ? $memory['used_memory'] + $memory['wasted_memory'] + $memory['free_memory'] : null,
            'hits' => $counts['hits'] ?? null,
            'misses' => $counts['misses'] ?? null,
            'keys' => $counts['num_cached_keys'] ?? null,
            'max_keys' => $counts['max_cached_keys'] ?? null,
            'full' => !empty($status['cache_full']),
            'max_wasted' => (float) ini_get('opcache.max_wasted_percentage'),
            'strings_free' => $status['interned_strings_usage']['free_memory'] ?? null,
            'validates' => (bool) ini_get('opcache.validate_timestamps'),
            'preload' => (string) ini_get('opcache.preload'),
            'file_cache' => (string) ini_get('opcache.file_cache'),
            'file_cache_only' => !empty($status['file_cache_only']),
        ];
    }

    /** The scripts that are one of the paths or below it, or all, with the bytes they take. */
    private function selected(array $paths): array
    {
        $found = [];
        foreach (opcache_get_status(true)['scripts'] ?? [] as $script) {
            $path = $script['full_path'];
            if ($path !== __FILE__ && self::isBelow($path, $paths) && opcache_is_script_cached($path)) {
                $found[$path] = $script['memory_consumption'];
            }
        }
        return $found;
    }

    private static function isBelow(string $path, array $parents): bool
    {
        foreach ($parents as $parent) {
            if ($path === $parent || strpos($path, rtrim($parent, '/') . '/') === 0) {
                return true;
            }
        }
        return !$parents;
    }

    public function count(array $paths): array
    {
        $found = $this->selected($paths);
        return [
            'found' => count($found), 'total' => count($this->selected([])), 'size' => array_sum($found),
            'examples' => array_slice(array_map('strval', array_keys($found)), 0, 5),
        ];
    }

    public function reset(): array
    {
        $before = $this->state();
        $before['found'] = count($this->selected([]));
        $before['files'] = $this->purgeFiles([]);
        if (!$before['pending']) {
            opcache_reset();
        }
        return $before;
    }

    public function invalidate(array $paths): array
    {
        $found = array_keys($this->selected($paths));
        $left = [];
        foreach ($found as $path) {
            $path = (string) $path;
            for ($tries = 0; $tries < 3 && opcache_is_script_cached($path); $tries++) {
                opcache_invalidate($path, true);
            }
            if (opcache_is_script_cached($path)) {
                $left[] = $path;
            }
        }
        return [
            'found' => count($found), 'left' => count($left), 'examples' => array_slice($left, 0, 5),
            'files' => $this->purgeFiles($paths), 'state' => $this->state(),
        ];
    }

    /** Remove compiled files of opcache.file_cache, from which a restart would bring back old code. */
    private function purgeFiles(array $paths): array
    {
        $root = (string) ini_get('opcache.file_cache');
        $counts = ['removed' => 0, 'left' => 0];
        foreach ($root === '' ? [] : (glob("$root/*", GLOB_ONLYDIR | GLOB_NOSORT) ?: []) as $build) {
            $tree = new RecursiveIteratorIterator(
                new RecursiveDirectoryIterator($build, FilesystemIterator::SKIP_DOTS),
                RecursiveIteratorIterator::LEAVES_ONLY,
                RecursiveIteratorIterator::CATCH_GET_CHILD
            );
            foreach ($tree as $file => $_) {
                $script = substr($file, strlen($build), -strlen('.bin'));
                if (substr($file, -4) === '.bin' && self::isBelow($script, $paths)) {
                    $counts[@unlink($file) ? 'removed' : 'left']++;
                }
            }
        }
        return $counts;
    }

    /** Compile files, and say of each what came of it: compiled, present, fresh or failed. */
    public function compile(array $files): array
    {
        return ['verdicts' => array_map([$this, 'verdict'], $files)];
    }

    private function verdict(string $file): array
    {
        if (opcache_is_script_cached($file)) {
            return ['present', ''];
        }
        if (!is_file($file) || !is_readable($file)) {
            return ['failed', is_file($file) ? 'the pool may not read it' : 'no such file'];
        }
        CachekitPool::warning();
        try {
            opcache_compile_file($file);
        } catch (Throwable $error) {
            return ['failed', get_class($error) . ': ' . $error->getMessage() . " on line {$error->getLine()}"];
        }
        if (opcache_is_script_cached($file)) {
            return ['compiled', ''];
        }
        // OPcache takes no file that was changed a moment ago: it might be only half written.
        $wait = filemtime($file) + (int) ini_get('opcache.file_update_protection') + 1 - time();
        if ($wait > 0 && (int) ini_get('opcache.file_update_protection')) {
            return ['fresh', $wait];
        }
        $state = $this->state();
        $full = $state['full'] || $state['keys'] >= $state['max_keys'];
        return ['failed', CachekitPool::warning() ?: ($full ? 'OPcache is full' : 'OPcache does not keep it; see'
            . ' opcache.blacklist_filename, opcache.max_file_size')];
    }
}

/** APCu, as a pool has it. */
final class CachekitUser
{
    const BATCH = 500;
    const MANY = 200000; // So many free blocks at most are looked at one by one.
    const BYTES_PER_ENTRY = 200; // What an entry takes beside its key and value, rounded up.

    public static function able(): self
    {
        if ($trouble = self::trouble()) {
            throw new CachekitFailure('refused', $trouble);
        }
        return new self();
    }

    public static function trouble(): string
    {
        if (!extension_loaded('apcu')) {
            return 'APCu is not loaded in this pool; load it, or set `segments: opcode`';
        }
        if (!ini_get('apc.enabled') || (function_exists('apcu_enabled') && !apcu_enabled())) {
            return 'APCu is off in this pool (apc.enabled=0); turn it on, or set `segments: opcode`';
        }
        foreach (['cache_info', 'sma_info', 'clear_cache', 'delete', 'exists', 'store'] as $name) {
            if (!function_exists("apcu_$name")) {
                return "disable_functions of the pool names apcu_$name; allow it, or name a pool of the same master"
                    . ' where it is allowed';
            }
        }
        return '';
    }

    public function state(): array
    {
        $info = apcu_cache_info(true);
        $memory = apcu_sma_info($info['num_entries'] > self::MANY);
        $blocks = array_merge([], ...array_map('array_values', $memory['block_lists'] ?? []));
        $capacity = $memory['num_seg'] * $memory['seg_size'];
        return [
            'items' => $info['num_entries'],
            'size' => $capacity - $memory['avail_mem'],
            'capacity' => $capacity,
            'hits' => $info['num_hits'],
            'misses' => $info['num_misses'],
            'expunges' => $info['expunges'],
            'largest_free' => $blocks ? max(array_column($blocks, 'size')) : null,
        ];
    }

    private static function room(): int
    {
        return apcu_sma_info(true)['avail_mem'];
    }

    private static function predicate(array $asked): callable
    {
        $keys = array_flip(CachekitPool::decoded($asked['keys'] ?? []));
        $prefixes = CachekitPool::decoded($asked['prefixes'] ?? []);
        $patterns = CachekitPool::decoded($asked['patterns'] ?? []);
        foreach ($patterns as $pattern) {
            if (@preg_match("~$pattern~", '') === false) {
                throw new CachekitFailure('refused', 'PCRE does not take the pattern: ' . CachekitPool::warning());
            }
        }
        return function (string $key) use ($keys, $prefixes, $patterns): bool {
            if (isset($keys[$key])) {
                return true;
            }
            foreach ($prefixes as $prefix) {
                if (strncmp($key, $prefix, strlen($prefix)) === 0) {
                    return true;
                }
            }
            // Characters where the key has them, bytes where it is no UTF-8.
            $unicode = $patterns && preg_match('//u', $key) ? 'u' : '';
            foreach ($patterns as $pattern) {
                if (preg_match("~$pattern~$unicode", $key)) {
                    return true;
                }
            }
            return false;
        };
    }

    public function count(array $asked): array
    {
        $selects = self::predicate($asked);
        $all = empty($asked['keys']) && empty($asked['prefixes']) && empty($asked['patterns']);
        $answer = ['found' => 0, 'total' => apcu_cache_info(true)['num_entries'], 'size' => 0, 'examples' => []];
        foreach (new APCUIterator(null, APC_ITER_KEY | APC_ITER_MEM_SIZE, self::BATCH) as $key => $entry) {
            if (!$all && !$selects((string) $key)) {
                continue;
            }
            $answer['found']++;
            $answer['size'] += $entry['mem_size'];
            if (count($answer['examples']) < 5) {
                $answer['examples'][] = (string) $key;
            }
        }
        return $answer;
    }

    public function clear(): array
    {
        $before = apcu_cache_info(true);
        apcu_clear_cache();
        $after = apcu_cache_info(true);
        // A clear sets this count to zero, and what is there already has been stored since.
        $done = !$before['num_entries'] || $after['num_inserts'] < $before['num_inserts'];
        return [
            'found' => $before['num_entries'], 'left' => $done ? 0 : $after['num_entries'],
            'since' => $done ? $after['num_entries'] : 0,
        ];
    }

    public function delete(array $asked): array
    {
        $selects = self::predicate($asked);
        $found = $removed = 0;
        foreach ($this->batches($selects) as $batch) {
            $found += count($batch);
            $removed += count($batch) - count(apcu_delete($batch));
        }
        $left = 0;
        foreach ($this->batches($selects) as $batch) {
            $left += count($batch);
        }
        return ['found' => $found, 'removed' => $removed, 'left' => $left];
    }

    /** Keys that are selected, so many at a time; they may be deleted meanwhile. */
    private function batches(callable $selects)
    {
        $batch = [];
        foreach (new APCUIterator(null, APC_ITER_KEY, self::BATCH) as $key => $_) {
            if ($selects((string) $key)) {
                $batch[] = (string) $key;
            }
            if (count($batch) === self::BATCH) {
                yield $batch;
                $batch = [];
            }
        }
        yield $batch;
    }

    /** Store records while there is room: a full segment would silently throw out all that it has. */
    public function store(array $records, bool $force): array
    {
        $before = apcu_cache_info(true)['expunges'];
        $stored = $took = 0;
        $full = false;
        foreach (array_chunk($records, self::BATCH) as $batch) {
            $room = self::room();
            $wanted = array_sum(array_column($batch, 0)) + count($batch) * self::BYTES_PER_ENTRY;
            if ($full = !$force && max($wanted, $took) > $room) {
                break;
            }
            foreach ($batch as list(, $key, $value, $ttl, $is_encoded)) {
                $stored += (int) apcu_store($key, $is_encoded ? base64_decode($value) : $value, $ttl);
            }
            $took = $room - self::room();
        }
        $expunges = apcu_cache_info(true)['expunges'] - $before;
        return ['stored' => $stored, 'full' => $full, 'room' => self::room(), 'expunges' => $expunges];
    }

    public function exist(array $keys): array
    {
        return ['there' => count(array_filter($keys, 'apcu_exists'))];
    }
}

PHP_SAPI === 'cli' ? CachekitNode::main($cachekit_job, $cachekit_source) : CachekitPool::main();
