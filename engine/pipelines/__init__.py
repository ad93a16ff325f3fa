"""The five tasks as generators that ask for their heavy steps."""
