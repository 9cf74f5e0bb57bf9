"""Numbers in Chinese pages: Django's own format would write 1234567 without any mark; tables of figures need one."""

THOUSAND_SEPARATOR = ","
NUMBER_GROUPING = 3
