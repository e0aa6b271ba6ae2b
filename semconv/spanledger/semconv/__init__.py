"""The words of Spanledger: attribute names, usage, money, prices, and how foreign spans are read."""
