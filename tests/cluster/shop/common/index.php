<?php

// The front controller. What sets releases apart is in shop.php and templates/.

require __DIR__ . '/stores.php';
require __DIR__ . '/shop.php';

$path = strtok($_SERVER['REQUEST_URI'], '?');
note('renders', $path);
header('X-Release: ' . RELEASE);
header('Cache-Control: public, max-age=3600');

if ($path === '/') {
    $offers = array_map(fn($number) => summary(data("product:$number")), [1, 2, 3]);
    show('front', ['heading' => 'Lamps for every room', 'lines' => $offers]);
} elseif ($path === '/category/lamps') {
    show('category', ['heading' => 'All lamps', 'lines' => data('category:lamps')['lines']]);
} elseif ($path === '/about') {
    show('front', ['heading' => 'About us', 'lines' => ['We sell lamps.']]);
} elseif (preg_match('#^/product/(\d+)$#', $path, $found)) {
    header("X-Cache-Tags: product-$found[1]");
    $product = data("product:$found[1]");
    show('product', ['heading' => "Lamp $found[1]", 'lines' => [summary($product)]]);
    recently_seen($path);
} elseif ($path === '/cart') {
    header('Cache-Control: private, no-store');
    show('front', ['heading' => 'Your cart', 'lines' => [recently_seen() . ' lamps seen']]);
} else {
    http_response_code(404);
    header('Cache-Control: no-store');
}

function show(string $template, array $values): void
{
    $menu = menu();
    echo view($template)($values + ['menu' => $menu, 'data' => $GLOBALS['data_of'] ?? RELEASE]);
}
