from django.apps import AppConfig


class RecipesConfig(AppConfig):
    name = "apps.recipes"
