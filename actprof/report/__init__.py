"""HTML pages, each one file that opens without a network, made from records alone (no torch, no lerobot).

A page is one Python file with `render_<page>(record) -> str` and one template that extends
`base.html.j2`; `page.render` inlines everything, and `page.write_page` writes it.
"""
